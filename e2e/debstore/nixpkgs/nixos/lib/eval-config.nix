# Evaluates a NixOS configuration to config, options and pkgs.
{
  system ? null,
  modules,
  specialArgs ? { },
  lib ? import ../../lib,
}:
let
  withExtras =
    configuration:
    configuration
    // {
      inherit lib;
      inherit (configuration._module.args) pkgs;
      extendModules = args: withExtras (configuration.extendModules args);
    };
in
withExtras (
  lib.evalModules {
    modules =
      import ../modules/module-list.nix
      ++ lib.optional (system != null) { nixpkgs.system = lib.mkDefault system; }
      ++ modules;
    specialArgs = {
      modulesPath = toString ../modules;
    }
    // specialArgs;
  }
)
