#!/bin/sh
# prepare.sh NIXPKGS TREE: makes TREE a copy of NIXPKGS that uses Debian's
# packages. e2e/nixpkgs_test.go runs this script. debstore release must have
# written packages.json and aliases.json to TREE/debian before.
set -eu
from=$1 tree=$2
here=$(cd "$(dirname "$0")" && pwd)
for f in lib/default.nix nixos/lib/eval-config.nix nixos/modules/module-list.nix pkgs/stdenv/default.nix pkgs/top-level/all-packages.nix; do
  [ -f "$from/$f" ] || { echo "e2e/nixpkgs: $from is no nixpkgs: it has no $f" >&2; exit 1; }
done
if [ ! -e "$tree/debian/from" ] || [ "$(cat "$tree/debian/from")" != "$from" ]; then
  cp -a --reflink=auto "$from/." "$tree/"
  rm -rf "$tree/.git"
  mv "$tree/nixos/modules/module-list.nix" "$tree/nixos/modules/module-list-nixpkgs.nix"
  mv "$tree/pkgs/stdenv/default.nix" "$tree/pkgs/stdenv/default-nixpkgs.nix"
  echo "$from" >"$tree/debian/from"
fi
cp "$here/default.nix" "$here/link.sh" "$here/switch-to-configuration.sh" "$tree/debian/"
cp "$here/stdenv.nix" "$tree/pkgs/stdenv/default.nix"
cp "$here/module.nix" "$tree/nixos/modules/debian.nix"
echo 'import ./module-list-nixpkgs.nix ++ [ ./debian.nix ]' >"$tree/nixos/modules/module-list.nix"
# These are the units that NixOS takes from systemd. They must exist.
list() {
  grep -rhoE "\"[A-Za-z0-9@._-]+\\.($1)\"" "$tree/nixos/modules/system/boot" "$tree/nixos/modules/services/system" |
    tr -d '"' | sort -u | sed 's/.*/system &\nuser &/'
}
jq -n --arg names "$(list 'service|socket|target|timer|path|mount|automount|slice')
" --arg wants "$(list wants)
" '{$names, $wants}' >"$tree/debian/units.json"
