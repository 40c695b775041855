# sudo is a set-user-ID program in /run/wrappers. NixOS fills this directory at
# the start.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  sudo = pkgs.debian.sudo;
in
{
  options.security.sudo.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
  };
  config = lib.mkIf config.security.sudo.enable {
    environment.etc."sudo.conf".text = "Plugin sudoers_policy ${sudo}/usr/libexec/sudo/sudoers.so\n";
    environment.etc.sudoers.text = ''
      root ALL=(ALL:ALL) ALL
      %wheel ALL=(ALL:ALL) NOPASSWD: ALL
    '';
    # Debian's PAM searches for its modules only in Debian's directories.
    environment.etc."pam.d/sudo".text = lib.concatMapStrings (type: ''
      ${type} required ${pkgs.pamModules}/pam_permit.so
    '') [ "auth" "account" "session" ];
    systemd.services.suid-sgid-wrappers = {
      description = "Create SUID/SGID Wrappers";
      wantedBy = [ "sysinit.target" ];
      before = [ "sysinit.target" ];
      unitConfig.DefaultDependencies = false;
      script = ''
        mkdir -p /run/wrappers/bin
        cp ${sudo}/usr/bin/sudo /run/wrappers/bin/sudo
        chmod 4555 /run/wrappers/bin/sudo
      '';
      serviceConfig.Type = "oneshot";
      serviceConfig.RemainAfterExit = true;
    };
  };
}
