{
  # NixOS's module raises net.core.rmem_max. A container's network also has this
  # setting.
  configuration = {
    services.caddy.enable = true;
    services.caddy.virtualHosts."http://localhost".extraConfig = "respond hello";
  };
  expected.boot.kernel.sysctl."net.core.rmem_max" = 2500000;
}
