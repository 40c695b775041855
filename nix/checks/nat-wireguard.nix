{
  configuration = {
    networking.nat = {
      enable = true;
      externalInterface = "eth0";
      internalInterfaces = [ "wg0" ];
    };
    networking.wireguard.interfaces.wg0 = {
      ips = [ "10.100.0.1/24" ];
      listenPort = 51820;
      privateKeyFile = "/run/secrets/wireguard";
    };
  };
  # Settings of the container's network stay.
  expected.boot.kernel.sysctl."net.ipv4.conf.all.forwarding" = v: v != null && v != false;
}
