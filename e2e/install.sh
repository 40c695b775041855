#!/bin/sh
# Installs the programs that the end-to-end tests use, on Debian 12. Run it as
# root.
set -eu
packages="ca-certificates chromium containerd debian-archive-keyring debootstrap docker.io docker-registry
  catatonit iproute2 jq nix-bin patchelf podman qemu-user-static runc shellcheck skopeo sqlite3 umoci util-linux
  xz-utils zstd"
missing=
for p in $packages; do
  dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
# Debian 12 has compose 1, which does not support `cgroup: host` in compose
# files.
compose=
docker compose version >/dev/null 2>&1 || compose=docker-compose
[ -n "$missing$compose" ] || exit 0
[ "$(id -u)" = 0 ] || { echo "e2e/install.sh: must be root to install:$missing $compose" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# Services in the packages must not start, because the tests start their own.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; trap 'rm -f $policy' EXIT; }
if [ -n "$missing" ]; then
  apt-get -q update
  # shellcheck disable=SC2086
  apt-get -q -y install --no-install-recommends $missing
fi
[ -n "$compose" ] || exit 0
# Debian 13's docker-compose depends only on libc.
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
(cd "$dir" && sh "$here/download.sh" trixie $compose && dpkg -i $compose*.deb)
rm -rf "$dir"
