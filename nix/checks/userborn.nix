{
  configuration = {
    services.userborn.enable = true;
    users.users.alice.isNormalUser = true;
    users.mutableUsers = false;
  };
  nixpkgs = "24.11";
}
