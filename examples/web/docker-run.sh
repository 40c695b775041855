#!/bin/sh
# The same as compose.yml, in one command. docker logs -f web shows the boot and the build.
set -eu
exec docker run -d --name web -p 8080:80 \
  --tmpfs /run:exec,suid --security-opt writable-cgroups=true \
  -v "$PWD/nginx.nix:/config/configuration.nix" -v "$PWD/web:/web" \
  -v web-cache:/var/cache/nixoci \
  "${1:-ghcr.io/nixoci/base:latest}"
