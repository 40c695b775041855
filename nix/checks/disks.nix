{
  # What disko adds to a configuration, with ZFS, RAID, LVM and swap.
  base = false;
  configuration = {
    boot.loader.grub.devices = [ "/dev/sda" ];
    boot.loader.grub.efiSupport = true;
    boot.loader.grub.efiInstallAsRemovable = true;
    boot.supportedFilesystems = [ "zfs" ];
    boot.swraid.enable = true;
    boot.swraid.mdadmConf = "MAILADDR root";
    boot.initrd.luks.devices.crypt.device = "/dev/disk/by-partlabel/luks";
    # The tmpfs is skipped if the container may not mount.
    boot.tmp.useTmpfs = true;
    networking.hostId = "8425e349";
    services.lvm.enable = true;
    services.zfs.autoScrub.enable = true;
    services.sanoid.enable = true;
    services.btrfs.autoScrub.enable = true;
    services.smartd.enable = true;
    fileSystems."/" = {
      device = "tank/root";
      fsType = "zfs";
    };
    fileSystems."/boot" = {
      device = "/dev/disk/by-partlabel/disk-main-ESP";
      fsType = "vfat";
      options = [ "umask=0077" ];
    };
    fileSystems."/data" = {
      device = "/dev/disk/by-partlabel/data";
      fsType = "btrfs";
    };
    swapDevices = [
      {
        device = "/dev/disk/by-partlabel/swap";
        randomEncryption.enable = true;
      }
      {
        device = "/swapfile";
        size = 4096;
      }
    ];
    zramSwap.enable = true;
  };
}
