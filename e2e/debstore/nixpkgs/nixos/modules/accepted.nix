# Options that exist in NixOS but have no effect on this system.
{ lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  list =
    type:
    mkOption {
      type = types.listOf type;
      default = [ ];
    };
  optional = type: mkOption {
    type = types.nullOr type;
    default = null;
  };
in
{
  options = {
    boot.enableContainers = flag true;
    boot.bcache.enable = flag true;
    boot.binfmt.registrations = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    boot.initrd.enable = flag true;
    boot.initrd.systemd.enable = flag false;
    boot.kernel.enable = flag true;
    boot.kexec.enable = flag true;
    boot.modprobeConfig.enable = flag true;
    boot.loader.grub.enable = flag true;
    boot.loader.systemd-boot.enable = flag false;
    boot.specialFileSystems = mkOption {
      type = types.attrsOf types.anything;
      default."/proc" = { };
    };
    boot.tmp.useTmpfs = flag false;
    console.enable = flag true;
    containers = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    documentation.enable = flag true;
    documentation.nixos.enable = flag true;
    documentation.man.enable = flag true;
    environment.defaultPackages = list types.package;
    environment.corePackages = list types.package;
    environment.stub-ld.enable = flag true;
    fonts.packages = list types.package;
    hardware.ksm.enable = flag false;
    i18n.defaultLocale = mkOption {
      type = types.str;
      default = "en_US.UTF-8";
    };
    networking.networkmanager.enable = flag false;
    powerManagement.enable = flag true;
    programs.command-not-found.enable = flag true;
    programs.less.lessopen = optional types.str;
    programs.nano.enable = flag true;
    security.apparmor.enable = flag false;
    security.audit.enable = flag false;
    security.enableWrappers = flag true;
    security.lockKernelModules = flag false;
    services.chrony.enable = flag false;
    services.dbus.implementation = mkOption {
      type = types.enum [
        "dbus"
        "broker"
      ];
      default = "dbus";
    };
    services.fstrim.enable = flag true;
    services.getty.enable = flag true;
    services.getty.autologinUser = optional types.str;
    services.logrotate.enable = flag true;
    services.logrotate.settings = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    services.lvm.enable = flag true;
    services.nscd.enable = flag true;
    services.ntp.enable = flag false;
    services.ntpd-rs.enable = flag false;
    services.openntpd.enable = flag false;
    services.openssh.enable = flag false;
    services.openssh.startWhenNeeded = flag false;
    services.resolved.enable = flag false;
    services.udev.enable = flag true;
    services.udisks2.enable = flag false;
    system.disableInstallerTools = flag false;
    system.etc.overlay.enable = flag false;
    system.switch.enable = flag true;
    system.nssModules = list types.path;
    system.tools.nixos-build-vms.enable = flag true;
    system.tools.nixos-enter.enable = flag true;
    system.tools.nixos-generate-config.enable = flag true;
    system.tools.nixos-install.enable = flag true;
    system.tools.nixos-option.enable = flag true;
    system.tools.nixos-rebuild.enable = flag true;
    systemd.network.enable = flag false;
    systemd.network.wait-online.enable = flag true;
    systemd.enableEmergencyMode = flag true;
    systemd.generators = mkOption {
      type = types.attrsOf types.str;
      default = { };
    };
    systemd.paths = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    systemd.suppressedSystemUnits = list types.str;
    time.timeZone = optional types.str;
    xdg.autostart.enable = flag true;
    xdg.icons.enable = flag true;
    xdg.mime.enable = flag true;
    xdg.sounds.enable = flag true;
  };
}
