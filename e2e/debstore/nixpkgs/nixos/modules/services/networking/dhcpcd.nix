{ config, lib, ... }:
let
  cfg = config.networking.dhcpcd;
in
{
  options.networking.dhcpcd.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
  };
  config.systemd.services.dhcpcd = lib.mkIf (cfg.enable && config.networking.useDHCP) {
    description = "DHCP Client";
    wantedBy = [ "multi-user.target" ];
    wants = [ "network.target" ];
    before = [ "network-online.target" ];
    unitConfig.ConditionCapability = "CAP_NET_ADMIN";
    # There is no dhcpcd here. In a container it could not set up the network,
    # because the engine has done so.
    script = "echo 'dhcpcd: no interfaces have a carrier'; exit 1";
  };
}
