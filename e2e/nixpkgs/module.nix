# This module comes after nixpkgs' own modules. It changes what Debian's
# packages cannot do.
{
  config,
  lib,
  pkgs,
  ...
}:
{
  # Only glibc's own name services are used, because NixOS's others are modules
  # for nsncd.
  services.nscd.enable = lib.mkForce false;
  system.nssModules = lib.mkForce [ ];
  # NixOS makes this file from the configuration of a kernel, but there is no
  # kernel.
  environment.etc."sysctl.d/55-nixos-aslr-entropy.conf".enable = lib.mkForce false;

  # This is the only locale inside glibc itself.
  i18n.defaultLocale = lib.mkForce "C.UTF-8";

  # Debian's nginx has its temporary files in these directories.
  systemd.services.nginx = lib.mkIf config.services.nginx.enable {
    serviceConfig.StateDirectory = [
      "nginx/body"
      "nginx/proxy"
      "nginx/fastcgi"
      "nginx/scgi"
      "nginx/uwsgi"
    ];
  };

  # A container needs these packages to build a configuration from /config.
  # There is no cache to download them from.
  system.extraDependencies = pkgs.e2eNixpkgs;

  # The containers of the tests have no network for a cache.
  nix.settings.substituters = lib.mkForce [ ];

  # Debian's programs look for their parts in these places.
  system.activationScripts.debian = {
    deps = [ "usrbinenv" ];
    text = ''
      mkdir -p /usr/lib/systemd /usr/bin /usr/sbin /usr/libexec /usr/lib/x86_64-linux-gnu
      parts=()
      for f in ${pkgs.systemd}/lib/systemd/*; do
        case ''${f##*/} in system | user | *-preset) ;; *) parts+=("$f") ;; esac
      done
      # One ln for each directory, because a start of NixOS is measured here.
      ln -sfn -t /usr/lib/systemd "''${parts[@]}"
      for dir in /usr/bin /usr/sbin; do
        ln -sfn -t $dir ${pkgs.systemd}/bin/*
        ln -sfn -t $dir ${pkgs.dbus}/bin/*
        ln -sfn -t $dir ${pkgs.dbus-broker}/bin/*
        ln -sfn -t $dir ${pkgs.util-linux}/bin/{mount,umount,agetty,sulogin}
      done
      ln -sfn ${pkgs.linux-pam}/lib/security /usr/lib/x86_64-linux-gnu/security
      ln -sfn ${pkgs.linux-pam}/bin/unix_chkpwd /usr/sbin/unix_chkpwd
      ln -sfn ${pkgs.sudo}/libexec/sudo /usr/libexec/sudo
      mkdir -p /usr/share/dbus-1
      ln -sfn /etc/dbus-1/system.conf /etc/dbus-1/session.conf /usr/share/dbus-1/
    '';
  };
}
