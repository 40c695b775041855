{
  # It starts systems from their stage 1. This one has none, so that the
  # ordinary script does it.
  configuration = {
    boot.initrd.systemd.enable = true;
    system.etc.overlay.enable = true;
    services.userborn.enable = true;
    system.nixos-init.enable = true;
  };
  nixpkgs = "25.11";
  expected.system.nixos-init.enable = false;
}
