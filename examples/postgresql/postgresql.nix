{
  services.postgresql.enable = true;
  services.postgresql.ensureDatabases = [ "shop" ];

  # This option chooses the major version of PostgreSQL, and updates of the image keep that
  # version. Set the option once, to the release of NixOS that you start with.
  system.stateVersion = "26.05";
}
