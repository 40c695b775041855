#!/bin/sh
# e2e/download.sh SUITE PACKAGE...: downloads packages of another Debian release
# into the working directory. The machine's own package lists stay as they are.
set -eu
suite=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/lists/partial"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${NIXOCI_DEBIAN_MIRROR:-http://deb.debian.org/debian} $suite main" >"$dir/sources.list"
apt() {
  apt-get -q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$dir/lists" \
    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Acquire::Languages=none -o Acquire::Retries=5 -o APT::Sandbox::User=root "$@"
}
apt update >&2
apt download "$@" >&2
