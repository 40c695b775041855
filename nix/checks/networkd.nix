{
  configuration = {
    networking.useNetworkd = true;
    systemd.network.enable = true;
    systemd.network.networks."10-lan" = {
      matchConfig.Name = "eth0";
      networkConfig.DHCP = "no";
    };
  };
  expected.systemd.services.systemd-networkd-wait-online.enable = false;
}
