{
  configuration.services = {
    unbound.enable = true;
    unbound.settings.server.interface = [ "0.0.0.0" ];
    avahi.enable = true;
  };
}
