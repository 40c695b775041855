#!/bin/sh
# Downloads a release of nixoci, checks its checksum, and puts it on the PATH of
# the following steps. NIXOCI_VERSION is the version. If it is empty, the
# version is the action's own tag, or the newest release of the action's major
# version.
set -eu
fail() { echo "::error::nixoci: $*" >&2; exit 1; }
version=${NIXOCI_VERSION:-}
if [ "$version" = installed ]; then
  command -v nixoci >/dev/null || fail "version: installed, and no nixoci is on the PATH"
  exit 0
fi
repository=${NIXOCI_REPOSITORY:-https://github.com/nixoci/nixoci}
newest() { # newest of the tags that match a pattern
  git ls-remote --refs --tags "$repository" "$1" | sed 's|.*refs/tags/||' | grep -Ex 'v[0-9]+\.[0-9]+\.[0-9]+' | sort -V | tail -n 1
}
if [ -z "$version" ]; then
  case ${NIXOCI_ACTION_REF:-} in
  v*.*.*) version=$NIXOCI_ACTION_REF ;;
  v[0-9]*) version=$(newest "$NIXOCI_ACTION_REF.*") ;;
  *) version=$(newest 'v*') ;;
  esac
  [ -n "$version" ] || fail "no release was found in $repository: name one with version"
fi
case $version in
*[!A-Za-z0-9._-]*) fail "version: not a version" ;;
esac
case $(uname -s) in
Linux) os=linux ;;
Darwin) os=darwin ;;
*) fail "no release for $(uname -s)" ;;
esac
case $(uname -m) in
x86_64 | amd64) arch=amd64 ;;
aarch64 | arm64) arch=arm64 ;;
*) fail "no release for $(uname -m)" ;;
esac
name=nixoci-$version-$os-$arch
dir=${RUNNER_TEMP:?}/nixoci-$version
rm -rf "$dir"
mkdir -p "$dir"
cd "$dir"
for file in "$name.tar.gz" SHA256SUMS; do
  curl --fail --silent --show-error --location --retry 3 --output "$file" "${NIXOCI_RELEASES:?}/$version/$file" ||
    fail "download $version/$file"
done
if command -v sha256sum >/dev/null; then sum() { sha256sum "$1"; }; else sum() { shasum -a 256 "$1"; }; fi
got=$(sum "$name.tar.gz" | cut -d ' ' -f 1)
want=$(grep -E "^[0-9a-f]{64} [ *]$name\.tar\.gz\$" SHA256SUMS | cut -d ' ' -f 1)
[ -n "$want" ] || fail "SHA256SUMS of $version does not have $name.tar.gz"
[ "$got" = "$want" ] || fail "$name.tar.gz has SHA-256 $got, not $want"
[ -z "${NIXOCI_SHA256:-}" ] || [ "$got" = "$NIXOCI_SHA256" ] || fail "$name.tar.gz has SHA-256 $got, not $NIXOCI_SHA256 as the workflow says"
tar -xzf "$name.tar.gz" "$name/nixoci"
echo "$dir/$name" >>"${GITHUB_PATH:?}"
