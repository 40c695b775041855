{
  services.postgresql.enable = true;
  services.postgresql.ensureDatabases = [ "shop" ];

  # Chooses PostgreSQL's major version, and keeps it when the image is updated.
  # Set it once, to the release of NixOS that you start with.
  system.stateVersion = "26.05";
}
