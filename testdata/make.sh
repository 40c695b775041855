#!/bin/sh
# Makes the files that README.md describes. It needs Debian 12 (or its apt and
# nix-bin) and root. It makes a new secret key and removes it at the end.
set -eu
cd "$(dirname "$0")"
command -v nix-store >/dev/null && command -v patchelf >/dev/null ||
  apt-get install -y --no-install-recommends nix-bin patchelf >&2
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
mkdir "$scratch/out"
(cd .. && go run ./e2e/debstore sample -root "$scratch/root" -debs "$scratch/debs" -out "$scratch/out")
rm -rf cache sample-*.json systems.json public-key
cp -R "$scratch"/out/* .
du -sh cache
