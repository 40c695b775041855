# Evaluates a configuration as a container, for one system.
#
#   nixpkgs        directory of the nixpkgs to use
#   system         for instance x86_64-linux
#   configuration  a NixOS module: a file or an attribute set
#   configurations, name
#                  or a flake's nixosConfigurations, and the name of one of
#                  them; it uses the flake's nixpkgs
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
      # If the flake already uses the container module, do not add it again.
      (if given.options ? nixoci then [ ] else [ ./container.nix ])
      # Most flakes name one system, but the container may run on another.
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
