{
  # The configuration of a whole computer, as in a flake.
  base = false;
  configuration =
    { pkgs, ... }:
    {
      boot.loader.systemd-boot.enable = true;
      boot.loader.efi.canTouchEfiVariables = true;
      boot.initrd.availableKernelModules = [ "nvme" ];
      boot.initrd.luks.devices.root.device = "/dev/disk/by-uuid/5d2a";
      boot.kernelModules = [ "kvm-intel" ];
      boot.kernelParams = [ "quiet" ];
      boot.kernelPackages = pkgs.linuxPackages_latest;
      boot.supportedFilesystems = [ "btrfs" ];
      boot.tmp.useTmpfs = true;
      fileSystems."/" = {
        device = "/dev/mapper/root";
        fsType = "btrfs";
        options = [ "subvol=root" ];
      };
      fileSystems."/boot" = {
        device = "/dev/disk/by-label/boot";
        fsType = "vfat";
      };
      swapDevices = [ { device = "/dev/disk/by-label/swap"; } ];
      zramSwap.enable = true;
      hardware.enableRedistributableFirmware = true;
      networking.hostName = "tower";
      networking.interfaces.enp3s0.ipv4.addresses = [
        {
          address = "192.168.1.10";
          prefixLength = 24;
        }
      ];
      networking.defaultGateway = "192.168.1.1";
      networking.firewall.enable = true;
      powerManagement.cpuFreqGovernor = "performance";
      security.auditd.enable = true;
      security.audit.enable = true;
      services.smartd.enable = true;
      services.thermald.enable = pkgs.stdenv.hostPlatform.isx86_64;
      system.stateVersion = "24.05";
    };
  expected.system.name = "tower";
}
