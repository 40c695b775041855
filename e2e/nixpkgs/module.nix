# Comes after nixpkgs' own modules: what they have that Debian's packages cannot be.
{
  config,
  lib,
  pkgs,
  ...
}:
{
  # Name services are glibc's own: NixOS' others are modules for nsncd alone.
  services.nscd.enable = lib.mkForce false;
  system.nssModules = lib.mkForce [ ];
  # Made from the configuration of a kernel that there is none of.
  environment.etc."sysctl.d/55-nixos-aslr-entropy.conf".enable = lib.mkForce false;

  # The one locale that is in glibc itself.
  i18n.defaultLocale = lib.mkForce "C.UTF-8";

  # Where Debian's nginx has its temporary files.
  systemd.services.nginx = lib.mkIf config.services.nginx.enable {
    serviceConfig.StateDirectory = [
      "nginx/body"
      "nginx/proxy"
      "nginx/fastcgi"
      "nginx/scgi"
      "nginx/uwsgi"
    ];
  };

  # What a configuration in /config is built with. There is no cache to fetch it from.
  system.extraDependencies = pkgs.e2eNixpkgs;

  # The tests' containers have no network to ask a cache over.
  nix.settings.substituters = lib.mkForce [ ];

  # Where Debian's programs look for their parts.
  system.activationScripts.debian = {
    deps = [ "usrbinenv" ];
    text = ''
      mkdir -p /usr/lib/systemd /usr/bin /usr/sbin /usr/libexec /usr/lib/x86_64-linux-gnu
      for f in ${pkgs.systemd}/lib/systemd/*; do
        case ''${f##*/} in system | user | *-preset) ;; *) ln -sfn "$f" /usr/lib/systemd/ ;; esac
      done
      for f in ${pkgs.systemd}/bin/* ${pkgs.dbus}/bin/* ${pkgs.dbus-broker}/bin/* ${pkgs.util-linux}/bin/{mount,umount,agetty,sulogin}; do
        ln -sfn "$f" /usr/bin/
        ln -sfn "$f" /usr/sbin/
      done
      ln -sfn ${pkgs.linux-pam}/lib/security /usr/lib/x86_64-linux-gnu/security
      ln -sfn ${pkgs.linux-pam}/bin/unix_chkpwd /usr/sbin/unix_chkpwd
      ln -sfn ${pkgs.sudo}/libexec/sudo /usr/libexec/sudo
      mkdir -p /usr/share/dbus-1
      ln -sfn /etc/dbus-1/system.conf /etc/dbus-1/session.conf /usr/share/dbus-1/
    '';
  };
}
