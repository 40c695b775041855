{ config, lib, ... }:
{
  imports = [
    (lib.mkRemovedOptionModule [
      "systemd"
      "coredump"
      "extraConfig"
    ] "Use systemd.coredump.settings.Coredump instead.")
  ];
  options.systemd.coredump.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
  };
  config.boot.kernel.sysctl."kernel.core_pattern" = lib.mkDefault (
    if config.systemd.coredump.enable then
      "|${config.systemd.package}/lib/systemd/systemd-coredump %P %u %g %s %t %c %h"
    else
      "core"
  );
}
