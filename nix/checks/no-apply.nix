{
  configuration.nixoci.apply.enable = false;
  expected.environment.etc = etc: !(etc ? "nixoci/base.json");
}
