{
  # Policies belong to the host, because its kernel applies them to all
  # containers.
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
  nixpkgs = "25.05"; # since then policies.NAME.profile is a string
}
