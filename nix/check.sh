#!/bin/sh
# Evaluates all of nix/ with complete nixpkgs, and builds nothing: nix/check.sh [REV...]
# REV is a branch or commit of NixOS/nixpkgs, or a flake reference such as path:/src/nixpkgs.
# Prints the derivations; a failed assertion or an option that is not there fails, warnings are shown.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- nixos-24.05 nixos-24.11 nixos-25.05 nixos-25.11 nixos-26.05
failed=
for rev; do
  case $rev in *:*) ref=$rev ;; *) ref=github:NixOS/nixpkgs/$rev ;; esac
  echo "== $rev"
  nix --extra-experimental-features 'nix-command flakes' eval --impure --json --expr '
    let
      nixpkgs = builtins.getFlake "'"$ref"'";
      dir = '"$PWD"';
      self = (import (dir + "/nix/flake.nix")).outputs { inherit self nixpkgs; };
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) systems);
      toplevel = nixos: nixos.config.system.build.toplevel.drvPath;
      host = nixpkgs.lib.nixosSystem {
        modules = [
          {
            nixpkgs.hostPlatform = "x86_64-linux";
            boot.loader.grub.enable = false;
            fileSystems."/" = { device = "none"; fsType = "tmpfs"; };
            system.stateVersion = nixpkgs.lib.trivial.release;
            containers.web.config = dir + "/examples/web/nginx.nix";
          }
        ];
      };
    in
    {
      packages = each (system: builtins.mapAttrs (_: p: p.drvPath) self.packages.${system});
      baked = import (dir + "/nix/bake.nix") { inherit systems; } self.nixosConfigurations.base;
      nginx = each (system: toplevel (import (dir + "/nix/eval.nix") {
        inherit system;
        nixpkgs = nixpkgs.outPath;
        configuration = dir + "/examples/web/nginx.nix";
      }));
      nginxOnHost = toplevel host;
      extended = toplevel (self.lib.extend host);
    }' || failed="$failed $rev"
  echo
done
[ -z "$failed" ] || { echo "nix/check.sh: failed with$failed" >&2; exit 1; }
