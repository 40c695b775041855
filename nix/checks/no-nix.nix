{
  # No Nix, nothing to apply /config with.
  configuration.nix.enable = false;
  expected.nixoci.apply.enable = false;
}
