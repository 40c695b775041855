{
  # nixos-init starts a system from its stage 1. A container has no stage 1, so
  # the usual script starts it.
  configuration = {
    boot.initrd.systemd.enable = true;
    system.etc.overlay.enable = true;
    services.userborn.enable = true;
    system.nixos-init.enable = true;
  };
  nixpkgs = "25.11";
  expected.system.nixos-init.enable = false;
}
