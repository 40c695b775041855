#!/bin/sh
# Makes the files that README.md describes: "make.sh small" those in small/, and
# "make.sh sample" the others. It needs Debian 12 (or its apt and nix-bin) and root.
# It makes a new secret key and removes it at the end.
set -eu
cd "$(dirname "$0")"
case "${1-}" in
  sample) to=. ;;
  small) to=small ;;
  *) echo "usage: make.sh sample|small" >&2; exit 2 ;;
esac
command -v nix-store >/dev/null && command -v patchelf >/dev/null ||
  apt-get install -y --no-install-recommends nix-bin patchelf >&2
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
mkdir "$scratch/out"
(cd .. && go run ./e2e/debstore "$1" -root "$scratch/root" -debs "$scratch/debs" -out "$scratch/out")
mkdir -p "$to"
(cd "$to" && rm -rf cache "$1"-*.json systems.json public-key)
cp -R "$scratch"/out/* "$to"
find "$to/cache" -type d -empty -delete
du -sh "$to/cache"
