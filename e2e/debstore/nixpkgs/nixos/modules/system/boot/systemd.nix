# Options of units. Their types come from utils. To evaluate systemd.units, Nix
# needs _module.args, see network-interfaces.nix.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:

with utils;
with systemdUtils.unitOptions;
with lib;

let
  cfg = config.systemd;
  inherit (systemdUtils.lib)
    generateUnits
    mountToUnit
    serviceToUnit
    socketToUnit
    targetToUnit
    timerToUnit
    ;
  toUnits = suffix: toUnit: mapAttrs' (n: v: nameValuePair "${n}.${suffix}" (toUnit v));
in
{
  imports = [
    (mkRenamedOptionModule [ "boot" "systemd" "services" ] [ "systemd" "services" ])
    (mkRenamedOptionModule [ "jobs" ] [ "systemd" "services" ])
    (mkRemovedOptionModule [ "systemd" "generator-packages" ] "Use systemd.packages instead.")
    (mkRemovedOptionModule [ "systemd" "extraConfig" ] "Use systemd.settings.Manager instead.")
  ];

  options.systemd = {
    package = mkOption {
      type = types.package;
      default = pkgs.systemd;
    };
    units = mkOption {
      default = { };
      type = systemdUtils.types.units;
    };
    packages = mkOption {
      default = [ ];
      type = types.listOf types.package;
    };
    services = mkOption {
      default = { };
      type = systemdUtils.types.services;
    };
    sockets = mkOption {
      default = { };
      type = systemdUtils.types.sockets;
    };
    targets = mkOption {
      default = { };
      type = systemdUtils.types.targets;
    };
    timers = mkOption {
      default = { };
      type = systemdUtils.types.timers;
    };
    mounts = mkOption {
      default = [ ];
      type = systemdUtils.types.mounts;
    };
    settings.Manager = mkOption {
      default = { };
      type = types.attrsOf types.anything;
    };
  };

  config = {
    systemd.units =
      toUnits "service" serviceToUnit cfg.services
      // toUnits "socket" socketToUnit cfg.sockets
      // toUnits "target" targetToUnit cfg.targets
      // toUnits "timer" timerToUnit cfg.timers
      // listToAttrs (map (m: nameValuePair "${escapeSystemdPath m.where}.mount" (mountToUnit m)) cfg.mounts);

    systemd.timers = mapAttrs (_: s: {
      wantedBy = [ "timers.target" ];
      timerConfig.OnCalendar = s.startAt;
    }) (filterAttrs (_: s: s.enable && s.startAt != [ ]) cfg.services);

    environment.etc = {
      "systemd/system".source = generateUnits cfg.units;
      # systemd must not write to the store on the first boot.
      "systemd/system-preset/00-nixos.preset".text = "disable *\n";
      "systemd/system.conf".text =
        "[Manager]\n" + concatStrings (mapAttrsToList (n: v: "${n}=${toString v}\n") cfg.settings.Manager);
    };

    boot.kernel.sysctl."kernel.pid_max" = mkDefault 4194304;

    # NixOS does not use these, because users and groups are in /etc.
    systemd.services.systemd-sysusers.enable = false;
    systemd.services.systemd-firstboot.enable = false;
  };
}
