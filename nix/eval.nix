# A configuration as a container, for one system.
#
#   nixpkgs        where the nixpkgs to use lies
#   system         for instance x86_64-linux
#   configuration  a NixOS module: a file or an attribute set
#   flake, name    or the nixosConfiguration of that name in a flake, which
#                  brings its own nixpkgs; flake is anything that
#                  builtins.getFlake takes
#   modules        more modules
{
  nixpkgs,
  system,
  configuration ? { },
  flake ? null,
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

  configurations = (builtins.getFlake flake).nixosConfigurations or { };
  given =
    configurations.${name} or (throw (
      if configurations == { } then
        "${flake} has no nixosConfigurations"
      else
        "${flake} has no nixosConfigurations.${name}, but: ${toString (builtins.attrNames configurations)}"
    ));
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

if flake == null then fromFile else fromFlake
