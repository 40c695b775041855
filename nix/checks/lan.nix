{
  # The services of a router: addresses, names, time.
  configuration = {
    services.kea.dhcp4 = {
      enable = true;
      settings = {
        interfaces-config.interfaces = [ "eth0" ];
        lease-database = {
          type = "memfile";
          persist = true;
          name = "/var/lib/kea/dhcp4.leases";
        };
        subnet4 = [
          {
            id = 1;
            subnet = "192.0.2.0/24";
            pools = [ { pool = "192.0.2.100 - 192.0.2.240"; } ];
          }
        ];
      };
    };
    services.bind.enable = true;
    services.adguardhome.enable = true;
    services.blocky.enable = true;
    services.chrony.enable = true;
    services.chrony.extraConfig = "allow 192.0.2.0/24";
    services.dnsmasq.enable = true;
    services.dnsmasq.resolveLocalQueries = false;
    services.radvd.enable = true;
    services.radvd.config = "interface eth0 { AdvSendAdvert on; };";
  };
}
