{
  # No base system: as much as NixOS brings on its own.
  base = false;
  configuration = { };
  expected.nixoci.minimal = false;
}
