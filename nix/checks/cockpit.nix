{
  configuration = {
    services.cockpit.enable = true;
    services.cockpit.openFirewall = true;
    services.netdata.enable = true;
    services.uptime-kuma.enable = true;
    services.getty.autologinUser = "root";
  };
}
