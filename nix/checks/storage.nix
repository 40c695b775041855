{
  # Mounts, swap and kernel modules of the machine that the configuration was
  # written for.
  base = false;
  configuration = {
    boot.kernelModules = [
      "wireguard"
      "br_netfilter"
    ];
    boot.supportedFilesystems = [ "nfs" ];
    boot.extraModprobeConfig = "options kvm nested=1";
    boot.blacklistedKernelModules = [ "pcspkr" ];
    boot.tmp.cleanOnBoot = true;
    boot.devSize = "1m";
    fileSystems."/" = {
      device = "tank/root";
      fsType = "ext4";
    };
    fileSystems."/srv/share" = {
      device = "nas:/share";
      fsType = "nfs";
      options = [
        "x-systemd.automount"
        "noauto"
      ];
    };
    fileSystems."/var/cache" = {
      fsType = "tmpfs";
      options = [ "size=1G" ];
    };
    swapDevices = [
      {
        device = "/var/swap";
        size = 1024;
      }
    ];
    services.autofs.enable = false;
    services.rpcbind.enable = true;
    system.autoUpgrade.enable = true;
  };
}
