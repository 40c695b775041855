# The toplevel with its stage 2, and the script that switches to it.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  systemPath = config.system.path;
  systemd = config.systemd.package;
  shell = "${pkgs.bash}/bin/bash";
  label = config.system.nixos.label;

  failed = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  checked =
    system:
    if failed != [ ] then
      throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (m: "- ${m}") failed}"
    else
      lib.foldl' (s: w: lib.warn w s) system config.warnings;
in
{
  imports = [
    (lib.mkRenamedOptionModule
      [ "system" "extraSystemBuilderCmds" ]
      [ "system" "systemBuilderCommands" ]
    )
  ];

  options = {
    environment.systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    system.build = mkOption {
      type = types.lazyAttrsOf types.unspecified;
      default = { };
    };
    system.extraDependencies = mkOption {
      type = types.listOf types.path;
      default = [ ];
    };
    system.name = mkOption {
      type = types.str;
      default = if config.networking.hostName == "" then "unnamed" else config.networking.hostName;
    };
    system.path = mkOption {
      type = types.package;
      internal = true;
    };
    system.systemBuilderCommands = mkOption {
      type = types.lines;
      default = "";
    };
  };

  config = {
    environment.systemPackages = [
      systemd
      pkgs.bash
      pkgs.coreutils
      pkgs.findutils
      pkgs.gnugrep
      pkgs.gnused
      pkgs.gnutar
      pkgs.gzip
      pkgs.util-linux
      pkgs.procps
      pkgs.curl
    ];
    system.path = pkgs.store.systemPath config.environment.systemPackages;

    system.build.toplevel = checked (pkgs.store.run "nixos-system-${config.system.name}-${label}" {
      inherit systemPath systemd label;
      etc = config.system.build.etc;
      hostPlatform = pkgs.stdenv.hostPlatform.system;
      interface = "systemd ${toString pkgs.systemd.interfaceVersion}";
      buildCommands = config.system.systemBuilderCommands;
      activate = config.system.build.activationScript;
      init = ''
        #!${shell}
        export HOME=/root PATH=${systemPath}/bin
        echo
        echo "<<< NixOS Stage 2 >>>"
        echo
        chmod 1775 /nix/store 2>/dev/null || :
        ${lib.concatMapStrings (o: "mount -o remount,${o} /nix/store || :\n") config.boot.nixStoreMountOpts}
        mkdir -p /etc /tmp /var/log /var/lib /root /run
        chmod 1777 /tmp
        echo "running activation script..."
        @out@/activate
        ln -sfn @out@ /run/booted-system
        ${config.boot.postBootCommands}
        echo "starting systemd..."
        exec /lib/systemd/systemd "$@"
      '';
      switch = ''
        #!${shell}
        # switch-to-configuration: activate, then stop, start and restart units
        # that differ.
        export PATH=${systemPath}/bin
        case "$1" in switch | test) ;; boot) exit 0 ;; *) echo "Usage: $0 [switch|boot|test]" >&2; exit 1 ;; esac
        old=$(readlink -f /run/current-system/etc/systemd/system)
        new=$(readlink -f @out@/etc/systemd/system)
        stop= restart= reload=
        for f in "$old"/*.service; do
          u=$(basename "$f")
          [ "$(readlink -f "$f")" != /dev/null ] || continue
          if [ ! -e "$new/$u" ]; then
            grep -q X-StopOnRemoval=false "$f" || stop="$stop $u"
          elif [ "$(readlink -f "$f")" != "$(readlink -f "$new/$u")" ] && systemctl -q is-active "$u"; then
            if grep -q X-ReloadIfChanged=true "$new/$u"; then reload="$reload $u"
            elif ! grep -q X-RestartIfChanged=false "$new/$u"; then restart="$restart $u"
            fi
          fi
        done
        [ -z "$stop" ] || { echo "stopping the following units:$stop"; systemctl stop $stop; }
        echo "activating the configuration..."
        @out@/activate || exit 2
        systemctl daemon-reload
        [ -z "$reload" ] || { echo "reloading the following units:$reload"; systemctl reload $reload || failed=1; }
        [ -z "$restart" ] || { echo "restarting the following units:$restart"; systemctl restart $restart || failed=1; }
        systemctl start multi-user.target
        sleep 0.2
        bad=$(systemctl list-units --state=failed,auto-restart --plain --no-legend | while read -r u _; do [ ! -e "$new/$u" ] || [ "$u" = nixoci-apply.service ] || echo -n " $u"; done)
        if [ -n "$bad" ]; then echo "warning: the following units failed:$bad"; exit 4; fi
      '';
      inherit (config.system) extraDependencies;
      passAsFile = [
        "init"
        "activate"
        "switch"
      ];
    } ''
      mkdir -p "$out/bin"
      sed "s,@out@,$out,g" "$initPath" >"$out/init"
      sed "s,@out@,$out,g" "$activatePath" >"$out/activate"
      sed "s,@out@,$out,g" "$switchPath" >"$out/bin/switch-to-configuration"
      chmod +x "$out/init" "$out/activate" "$out/bin/switch-to-configuration"
      ln -s "$etc/etc" "$out/etc"
      ln -s "$systemPath" "$out/sw"
      ln -s "$systemd" "$out/systemd"
      printf %s "$label" >"$out/nixos-version"
      printf %s "$hostPlatform" >"$out/system"
      printf %s "$interface" >"$out/init-interface-version"
      : >"$out/kernel-params"
      echo "$extraDependencies" >"$out/extra-dependencies"
      eval "$buildCommands"'');
  };
}
