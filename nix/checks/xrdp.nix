{
  # A desktop session for users on the network.
  base = false;
  configuration = {
    services.xrdp = {
      enable = true;
      defaultWindowManager = "xterm";
      openFirewall = true;
    };
    users.users.alice = {
      isNormalUser = true;
      initialPassword = "alice";
    };
  };
}
