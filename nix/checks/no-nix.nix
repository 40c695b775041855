{
  # Without Nix, /config cannot be applied.
  configuration.nix.enable = false;
  expected.nixoci.apply.enable = false;
}
