{
  # Without CAP_NET_ADMIN the unit is skipped instead of failing.
  configuration = {
    networking.firewall.enable = true;
    networking.firewall.allowedTCPPorts = [ 80 ];
    networking.firewall.extraCommands = "iptables -A INPUT -p icmp -j ACCEPT";
  };
  expected.systemd.services.firewall.enable = true;
}
