{
  # Without the base system: only what NixOS itself adds.
  base = false;
  configuration = { };
  expected.nixoci.minimal = false;
}
