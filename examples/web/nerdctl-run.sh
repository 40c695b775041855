#!/bin/sh
# The same as docker-run.sh, for nerdctl 2.1 or later.
set -eu
exec nerdctl run -d --name web -p 8080:80 \
  --tmpfs /run:exec,suid --security-opt writable-cgroups=true \
  -v "$PWD/nginx.nix:/config/configuration.nix" -v "$PWD/web:/web" \
  -v web-cache:/var/cache/nixoci \
  "${1:-ghcr.io/nixoci/base:latest}"
