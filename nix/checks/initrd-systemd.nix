{
  # There is no stage 1, whichever it would be.
  configuration.boot.initrd.systemd.enable = true;
  expected.boot.initrd.enable = false;
}
