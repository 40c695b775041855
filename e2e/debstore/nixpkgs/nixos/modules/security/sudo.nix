# sudo as a set-user-ID program in /run/wrappers, which NixOS fills when it starts.
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
    # PAM of Debian has its modules where only Debian looks.
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
