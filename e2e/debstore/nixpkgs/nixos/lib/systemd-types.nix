# The types of options whose values are units.
{ lib, systemdLib }:
let
  inherit (lib) types;
  options = import ./systemd-unit-options.nix { inherit lib; };
  named =
    suffix: declared: config:
    types.attrsOf (
      types.submodule [
        { options = declared; }
        config
      ]
    );
in
{
  units = named "" options.concrete systemdLib.concreteConfig;
  services = named "service" options.service systemdLib.serviceConfig;
  sockets = named "socket" options.socket systemdLib.unitConfig;
  targets = named "target" options.target systemdLib.unitConfig;
  timers = named "timer" options.timer systemdLib.unitConfig;
  mounts = types.listOf (
    types.submodule [
      { options = options.mount; }
      systemdLib.unitConfig
      systemdLib.mountConfig
    ]
  );
}
