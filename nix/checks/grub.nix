{
  base = false;
  configuration = {
    boot.loader.grub.enable = true;
    boot.loader.grub.device = "/dev/sda";
    fileSystems."/" = {
      device = "/dev/sda1";
      fsType = "ext4";
    };
    services.udev.enable = true;
  };
  expected.boot.loader.grub.enable = false;
}
