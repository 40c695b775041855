{ config, lib, ... }:
{
  imports = [
    (lib.mkRenamedOptionModule [ "services" "ntp" "servers" ] [ "networking" "timeServers" ])
  ];
  options = {
    services.timesyncd.enable = lib.mkOption {
      type = lib.types.bool;
      default = !config.boot.isContainer;
    };
    networking.timeServers = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "0.nixos.pool.ntp.org" ];
    };
  };
}
