#!/bin/sh
# The same as docker-run.sh, for Docker 20.10 to 27.
set -eu
exec docker run -d --name web -p 8080:80 \
  --tmpfs /run:exec,suid --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:rw \
  -v "$PWD/nginx.nix:/config/configuration.nix" -v "$PWD/web:/web" \
  -v web-cache:/var/cache/nixoci \
  "${1:-ghcr.io/nixoci/base:latest}"
