{
  # It says no stateVersion: which PostgreSQL it gets must not depend on the
  # release of nixpkgs, from 26.05 on.
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
