{
  config,
  pkgs,
  lib,
  ...
}:

with lib;

{
  options.boot.isContainer = mkOption {
    type = types.bool;
    default = false;
  };

  config = mkIf config.boot.isContainer {
    boot.kernel.enable = false;
    boot.modprobeConfig.enable = false;
    console.enable = mkDefault false;
    nix.optimise.automatic = mkDefault false;
    powerManagement.enable = mkDefault false;
    documentation.nixos.enable = mkDefault false;
    networking.useHostResolvConf = mkDefault true;
    services.openssh.startWhenNeeded = mkDefault true;
    services.udev.enable = false;
    services.lvm.enable = mkDefault false;
    security.audit.enable = false;
    # Like NixOS, assume that the container uses the Nix of the host.
    environment.variables.NIX_REMOTE = "daemon";
  };
}
