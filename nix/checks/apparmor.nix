{
  # Policies are the host's: its kernel has them for everybody.
  configuration = {
    security.apparmor.enable = true;
    security.apparmor.policies.app.profile = ''
      profile app /bin/app { }
    '';
    security.polkit.enable = true;
    security.pam.loginLimits = [
      {
        domain = "*";
        item = "nofile";
        type = "-";
        value = "65536";
      }
    ];
    security.doas.enable = true;
    security.sudo-rs.enable = true;
    services.usbguard.enable = true;
    services.clamav.daemon.enable = true;
    services.clamav.updater.enable = true;
  };
  warnings = [ "security.apparmor.enable" ];
  nixpkgs = "25.05"; # policies.NAME.profile as a string of its own
}
