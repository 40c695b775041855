# At shutdown NixOS changes to an initramfs. A container does not need one.
{
  config,
  lib,
  utils,
  pkgs,
  ...
}:
let
  cfg = config.systemd.shutdownRamfs;
in
{
  options.systemd.shutdownRamfs = {
    enable = lib.mkEnableOption "pivoting back to an initramfs for shutdown" // {
      default = true;
    };
    storePaths = lib.mkOption {
      type = lib.types.listOf lib.types.path;
      default = [ ];
    };
  };

  config = lib.mkIf cfg.enable {
    systemd.shutdownRamfs.storePaths = [ "${config.systemd.package}/lib/systemd/systemd-shutdown" ];
    systemd.mounts = [
      {
        what = "tmpfs";
        where = "/run/initramfs";
        type = "tmpfs";
        options = "mode=0700";
      }
    ];
    systemd.services.generate-shutdown-ramfs = {
      description = "Generate shutdown ramfs";
      wantedBy = [ "shutdown.target" ];
      before = [ "shutdown.target" ];
      unitConfig = {
        DefaultDependencies = false;
        RequiresMountsFor = "/run/initramfs";
        ConditionFileIsExecutable = [ "!/run/initramfs/shutdown" ];
      };
      serviceConfig.Type = "oneshot";
      serviceConfig.ExecStart = "${pkgs.coreutils}/bin/cp -t /run/initramfs ${toString cfg.storePaths}";
    };
  };
}
