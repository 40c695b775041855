{
  # The module raises net.core.rmem_max, which a container's network has, too.
  configuration = {
    services.caddy.enable = true;
    services.caddy.virtualHosts."http://localhost".extraConfig = "respond hello";
  };
  expected.boot.kernel.sysctl."net.core.rmem_max" = 2500000;
}
