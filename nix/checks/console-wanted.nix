{
  # A configuration can turn on what the module turns off: a getty, a firewall,
  # DHCP.
  base = false;
  configuration = {
    services.getty.autologinUser = "root";
    networking.useDHCP = true;
    networking.useHostResolvConf = true;
    services.timesyncd.enable = true;
    documentation.enable = true;
    environment.defaultPackages = [ ];
    boot.isContainer = true;
    services.udisks2.enable = true;
    fonts.fontconfig.enable = true;
    xdg.mime.enable = true;
    networking.resolvconf.enable = true;
  };
  expected.services.timesyncd.enable = true;
  expected.documentation.enable = true;
}
