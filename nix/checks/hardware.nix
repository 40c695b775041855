{
  base = false;
  configuration =
    { pkgs, ... }:
    {
      hardware.bluetooth.enable = true;
      hardware.graphics.enable = true;
      hardware.enableRedistributableFirmware = true;
      hardware.cpu.intel.updateMicrocode = pkgs.stdenv.hostPlatform.isx86_64;
      hardware.rtl-sdr.enable = true;
      services.udev.packages = [ pkgs.yubikey-personalization ];
      services.udev.extraRules = ''KERNEL=="ttyUSB*", MODE="0666"'';
      services.udev.extraHwdb = "evdev:*";
      services.pcscd.enable = true;
      services.upower.enable = true;
      services.acpid.enable = true;
      services.irqbalance.enable = true;
      services.tlp.enable = true;
      powerManagement.powertop.enable = true;
      services.logind.settings.Login.HandleLidSwitch = "ignore";
      services.libinput.enable = true;
      services.ntp.enable = true;
      systemd.sleep.settings.Sleep.AllowSuspend = false;
    };
  nixpkgs = "26.05"; # systemd.sleep.settings
}
