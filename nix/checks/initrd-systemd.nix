{
  # There is no stage 1, neither with systemd nor with scripts.
  configuration.boot.initrd.systemd.enable = true;
  expected.boot.initrd.enable = false;
}
