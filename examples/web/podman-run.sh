#!/bin/sh
# podman gives systemd what it needs without a flag, with or without root.
set -eu
exec podman run -d --name web -p 8080:80 \
  -v "$PWD/nginx.nix:/config/configuration.nix" -v "$PWD/web:/web" \
  -v web-cache:/var/cache/nixoci \
  "${1:-ghcr.io/nixoci/base:latest}"
