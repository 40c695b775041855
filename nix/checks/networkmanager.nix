{
  configuration.networking.networkmanager.enable = true;
  expected.systemd.services.NetworkManager-wait-online.enable = false;
}
