{
  # Without CAP_NET_ADMIN the unit is skipped, so it does not fail.
  configuration = {
    networking.firewall.enable = true;
    networking.firewall.allowedTCPPorts = [ 80 ];
    networking.firewall.extraCommands = "iptables -A INPUT -p icmp -j ACCEPT";
  };
  expected.systemd.services.firewall.enable = true;
}
