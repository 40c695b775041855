#!/bin/sh
# One line: nginx.nix at http://localhost/, docker logs shows the boot and the build.
set -eu
exec docker run -d --name web -p 80:80 \
  --tmpfs /run --tmpfs /tmp --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:rw \
  -v "$PWD/nginx.nix:/config/configuration.nix" -v "$PWD/web:/web" \
  "${1:-ghcr.io/nixoci/base:latest}"
