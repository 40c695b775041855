#!/bin/sh
# run.sh [FLAG...]: measures nixoci and writes docs/benchmarks.json and
# docs/benchmarks.md. The flags are those of the bench command. NIXOCI_E2E_CACHE
# is a directory that keeps the large system between runs of this script and of
# e2e/run.sh. The script needs Linux, root for apt and Nix, and 4 GB of memory for
# the registry's storage on tmpfs. bench/nix2container needs a C compiler.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "bench/run.sh: making the large system needs root; run it with sudo -E" >&2; exit 1; }
sh e2e/install.sh >&2
NIXOCI_E2E_CACHE=${NIXOCI_E2E_CACHE:-/var/cache/nixoci-e2e}
export NIXOCI_E2E_CACHE
cache=$NIXOCI_E2E_CACHE
mkdir -p "$cache/bin"
go build -o "$cache/bin/debstore" ./e2e/debstore
sh e2e/tool.sh github.com/google/go-containerregistry/cmd/crane@v0.22.1
"$cache/bin/debstore" large -root "$cache/large" -debs "$cache/debs" -out "$cache/large" >&2
go build -o "$cache/bin/bench" ./bench
# nix2container reads /nix/store, so this script mounts the large system's store there.
tools=$cache/bin/nix2container
mkdir -p "$tools"
tags=containers_image_openpgp,exclude_graphdriver_btrfs
if go build -C bench/nix2container -trimpath -o "$tools/nix2container" github.com/nlewo/nix2container &&
  go build -C bench/nix2container -trimpath -tags "$tags" -o "$tools/nix2container-push" .; then
  set -- -nix2container "$tools" "$@"
else
  echo "bench/run.sh: nix2container does not build here: it is not measured, and the page says so" >&2
fi
exec unshare -m sh -ec 'mkdir -p /nix; mount --make-rprivate /; mount --bind "$1/nix" /nix; shift; exec "$@"' sh \
  "$cache/large" "$cache/bin/bench" -large "$cache/large" -crane "$cache/bin/crane" -nixoci bin/nixoci "$@"
