# A configuration as a container, for one system.
#
#   nixpkgs        where the nixpkgs to use lies
#   system         for instance x86_64-linux
#   configuration  a NixOS module: a file or an attribute set
#   configurations, name
#                  or one of a flake's nixosConfigurations, which brings its
#                  own nixpkgs
#   modules        more modules
{
  system,
  nixpkgs ? null,
  configuration ? { },
  configurations ? null,
  name ? "default",
  modules ? [ ],
}:

let
  fromFile = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    inherit system;
    modules = [
      ./container.nix
      configuration
    ]
    ++ modules;
  };

  given =
    configurations.${name} or (throw "the flake has no nixosConfigurations.${name}, but: ${toString (builtins.attrNames configurations)}");
  fromFlake = given.extendModules {
    modules =
      # A flake that already made a container of it stays as it is.
      (if given.options ? nixoci then [ ] else [ ./container.nix ])
      # Flakes tend to name one system; the container may run on another.
      ++ (
        if given.pkgs.stdenv.hostPlatform.system == system then
          [ ]
        else
          [
            (
              { lib, ... }:
              {
                nixpkgs.hostPlatform = lib.mkForce system;
              }
            )
          ]
      )
      ++ modules;
  };
in

if configurations == null then fromFile else fromFlake
