{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  scripts = config.system.activationScripts;
  systemd = config.systemd.package;
  path = config.system.path;
in
{
  options.system.activationScripts = mkOption {
    default = { };
    type = types.attrsOf (
      types.coercedTo types.str lib.noDepEntry (
        types.submodule {
          options = {
            deps = mkOption {
              type = types.listOf types.str;
              default = [ ];
            };
            text = mkOption { type = types.lines; };
            supportsDryActivation = mkOption {
              type = types.bool;
              default = false;
            };
          };
        }
      )
    );
  };

  config = {
    # NixOS mounts file systems here. It fails, because a container has no
    # privileges for this.
    system.activationScripts.specialfs = "false";
    # Debian's systemd searches for its parts in these places.
    system.activationScripts.debian = ''
      mkdir -p /bin /usr/bin /lib /usr/lib /sbin /usr/sbin /var/empty /var/www
      ln -sfn ${systemd}/lib/systemd /lib/systemd
      ln -sfn ${systemd}/usr/lib/systemd /usr/lib/systemd
      for d in sysusers.d tmpfiles.d sysctl.d; do [ ! -d ${systemd}/usr/lib/$d ] || ln -sfn ${systemd}/usr/lib/$d /usr/lib/$d; done
      for d in /bin /usr/bin; do
        ln -sfn ${systemd}/usr/bin/* ${lib.optionalString (pkgs.release == "bookworm") "${systemd}/bin/*"} ${path}/bin/mount ${path}/bin/umount $d/
      done
    '';
    system.activationScripts.binsh = lib.stringAfter [ "debian" ] "ln -sfn ${pkgs.bash}/bin/bash /bin/sh";
    system.activationScripts.usrbinenv = lib.stringAfter [ "debian" ] "ln -sfn ${path}/bin/env /usr/bin/env";

    system.build.activationScript = ''
      #!${pkgs.bash}/bin/bash
      export PATH=${path}/bin
      umask 0022
      _status=0
      ${lib.concatMapStrings (name: ''
        #### Activation script snippet ${name}:
        (
        ${if scripts.${name}.text == "" then ":" else scripts.${name}.text}
        ) || { echo "Activation script snippet '${name}' failed"; _status=1; }
      '') (lib.textClosureList scripts (lib.attrNames scripts))}
      ln -sfn @out@ /run/current-system
      exit $_status
    '';
  };
}
