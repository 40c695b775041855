{
  # The configuration sets no stateVersion. From 26.05 on, the version of
  # PostgreSQL must not depend on the release of nixpkgs.
  configuration.services.postgresql = {
    enable = true;
    ensureDatabases = [ "app" ];
    ensureUsers = [
      {
        name = "app";
        ensureDBOwnership = true;
      }
    ];
  };
  expected.system.stateVersion = "26.05";
  nixpkgs = "26.05";
}
