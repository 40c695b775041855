{
  configuration = { };
  expected.nixoci.minimal = true;
  expected.services.logrotate.enable = false;
}
