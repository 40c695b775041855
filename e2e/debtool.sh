#!/bin/sh
# e2e/debtool.sh SUITE NAME=PACKAGE...: downloads a package of another Debian
# release, and puts its program /usr/bin/PACKAGE as NAME into
# $NIXOCI_E2E_CACHE/bin. The program must run with this machine's libc. A download
# saves time, because building cosign takes six minutes. The name of the
# downloaded file contains the release.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$NIXOCI_E2E_CACHE/bin
suite=$1
shift
missing=
for tool; do
  [ -x "$bin/${tool%%=*}-$suite" ] || missing="$missing ${tool#*=}"
done
if [ -n "$missing" ]; then
  echo "e2e/debtool.sh: downloading Debian $suite's$missing" >&2
  rm -rf "$bin/unpacked"
  mkdir -p "$bin/unpacked"
  cd "$bin/unpacked"
  # shellcheck disable=SC2086
  sh "$here/download.sh" "$suite" $missing
  for deb in *.deb; do dpkg-deb -x "$deb" .; done
fi
for tool; do
  kept=${tool%%=*}-$suite
  [ -x "$bin/$kept" ] || mv "$bin/unpacked/usr/bin/${tool#*=}" "$bin/$kept"
  ln -sf "$kept" "$bin/${tool%%=*}"
done
rm -rf "$bin/unpacked"
