{
  # NixOS refuses a system that nobody can log in to. Nobody logs in to a
  # container.
  configuration = {
    users.mutableUsers = false;
    users.users.alice.isNormalUser = true;
  };
  expected.users.allowNoPasswordLogin = true;
}
