{
  configuration.services.tailscale = {
    enable = true;
    useRoutingFeatures = "server";
  };
  expected.boot.kernel.sysctl."net.ipv4.conf.all.forwarding" = v: v != null;
}
