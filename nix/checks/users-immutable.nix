{
  # NixOS rejects a system that nobody can log in to. But nobody logs in to a
  # container.
  configuration = {
    users.mutableUsers = false;
    users.users.alice.isNormalUser = true;
  };
  expected.users.allowNoPasswordLogin = true;
}
