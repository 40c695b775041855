{ config, lib, ... }:
{
  options.systemd.tmpfiles.rules = lib.mkOption {
    type = lib.types.listOf lib.types.str;
    default = [ ];
  };
  config.environment.etc."tmpfiles.d/00-nixos.conf".text =
    lib.concatLines config.systemd.tmpfiles.rules;
}
