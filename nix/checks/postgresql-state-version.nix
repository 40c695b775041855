{
  # The configuration's own value has priority.
  configuration = {
    services.postgresql.enable = true;
    system.stateVersion = "24.11";
  };
  expected.system.stateVersion = "24.11";
  expected.services.postgresql.package = p: p.psqlSchema == "16";
}
