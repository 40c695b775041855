# environment.etc, the activation, and the toplevel with its stage 2.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config;
  anything = default: mkOption { type = types.anything; inherit default; };
  entry = types.submoduleOf {
    enable = mkOption { type = types.bool; default = true; };
    text = mkOption { type = types.nullOr types.lines; default = null; };
    source = mkOption { type = types.nullOr types.path; default = null; };
  };
  sources = lib.mapAttrs' (name: e: lib.nameValuePair name (
    if e.source != null then e.source
    else pkgs.writeText ("etc-" + builtins.replaceStrings [ "/" " " ] [ "-" "-" ] name) e.text
  )) (lib.filterAttrs (_: e: e.enable) cfg.environment.etc);
  etc = pkgs.store.etc sources;
  systemPath = pkgs.store.systemPath (cfg.environment.systemPackages ++ [
    pkgs.debian.systemd pkgs.bash pkgs.coreutils pkgs.findutils pkgs.gnugrep pkgs.gnused pkgs.gnutar
    pkgs.gzip pkgs.util-linux pkgs.procps pkgs.curl cfg.nix.package
  ]);
  shell = "${pkgs.bash}/bin/bash";
  systemd = pkgs.debian.systemd;
in
{
  options = {
    environment.etc = mkOption { type = types.attrsOf entry; default = { }; };
    environment.systemPackages = mkOption { type = types.listOf types.package; default = [ ]; };
    environment.variables = mkOption { type = types.attrsOf types.str; default = { }; };
    nix.package = mkOption { type = types.package; default = pkgs.nix; };
    nix.settings = mkOption { type = types.attrsOf types.anything; default = { }; };
    nix.nixPath = mkOption { type = types.listOf types.str; default = [ ]; };
    nix.registry = mkOption { type = types.attrsOf types.anything; default = { }; };
    nixpkgs.hostPlatform = mkOption { type = types.str; };
    system.activationScripts = mkOption { type = types.attrsOf types.lines; default.specialfs = "false"; };
    system.build = anything { };
    system.extraDependencies = mkOption { type = types.listOf types.package; default = [ ]; };
    system.name = mkOption { type = types.str; default = cfg.networking.hostName; };
    system.systemBuilderCommands = mkOption { type = types.lines; default = ""; };
    system.extraSystemBuilderCmds = mkOption { type = types.lines; visible = false; default = ""; };
  };

  config = {
    _module.args.pkgs = import ../.. { system = cfg.nixpkgs.hostPlatform; };

    environment.etc = {
      "nix/nix.conf".text = lib.concatStringsSep "" (lib.mapAttrsToList (n: v:
        "${n} = ${if builtins.isList v then toString v else if builtins.isBool v then (if v then "true" else "false") else toString v}\n"
      ) ({ build-users-group = ""; build-hook = "${pkgs.debian.nix-bin}/usr/libexec/nix/build-remote"; substituters = ""; filter-syscalls = false; } // cfg.nix.settings));
      "nix/registry.json".text = builtins.toJSON { version = 2; flakes = lib.mapAttrsToList (id: r: {
        from = { type = "indirect"; inherit id; }; inherit (r) to;
      }) cfg.nix.registry; };
      # As NixOS: systemd must not write to the store on the first boot.
      "systemd/system-preset/00-nixos.preset".text = "disable *\n";
      "os-release".text = ''
        ID=nixos
        NAME=NixOS
        PRETTY_NAME="NixOS 24.05 (made of Debian packages)"
        VERSION_ID="24.05"
      '';
      "set-environment".text = lib.concatStringsSep "" (lib.mapAttrsToList (n: v: "export ${n}='${v}'\n") cfg.environment.variables);
      "passwd".text = ''
        root:x:0:0:System administrator:/root:${shell}
        www-data:x:33:33:www-data:/var/www:/bin/false
        nobody:x:65534:65534:nobody:/var/empty:/bin/false
      '';
      "group".text = ''
        root:x:0:
        adm:x:4:
        tty:x:5:
        disk:x:6:
        lp:x:7:
        dialout:x:20:
        cdrom:x:24:
        www-data:x:33:
        utmp:x:43:
        video:x:44:
        users:x:100:
        input:x:101:
        kmem:x:102:
        sgx:x:103:
        kvm:x:104:
        render:x:105:
        audio:x:106:
        tape:x:107:
        systemd-journal:x:999:
        nogroup:x:65534:
      '';
      hosts.text = "127.0.0.1 localhost\n";
      hostname.text = cfg.networking.hostName;
      "resolv.conf".text = "";
    };

    system.build.toplevel = pkgs.store.run "nixos-system-${cfg.system.name}-24.05.debian12" {
      inherit etc systemPath systemd;
      inherit (cfg.nixpkgs) hostPlatform;
      buildCommands = cfg.system.systemBuilderCommands;
      init = ''
        #!${shell}
        export HOME=/root PATH=${systemPath}/bin
        echo
        echo "<<< NixOS Stage 2 >>>"
        echo
        chmod 1775 /nix/store 2>/dev/null || :
        mkdir -p /etc /tmp /var/log /var/lib /root /run
        chmod 1777 /tmp
        echo "running activation script..."
        @out@/activate
        ln -sfn @out@ /run/booted-system
        echo "starting systemd..."
        exec /lib/systemd/systemd "$@"
      '';
      activate = ''
        #!${shell}
        export PATH=${systemPath}/bin
        umask 0022
        _status=0
        ${lib.concatStringsSep "\n" (lib.mapAttrsToList (n: s: ''
          #### Activation script snippet ${n}:
          ( ${if s == "" then ":" else s} ) || { echo "Activation script snippet '${n}' failed"; _status=1; }
        '') cfg.system.activationScripts)}
        echo "setting up /etc..."
        mkdir -p /etc/systemd
        cd ${etc}/etc
        find . -type l | while read -r name; do
          mkdir -p "/etc/$(dirname "$name")"
          # As setup-etc.pl: a link made beside it and renamed over it.
          ln -sfn "$(readlink "$name")" "/etc/$name.tmp" && mv -T "/etc/$name.tmp" "/etc/$name" || { echo "cannot set /etc/$name"; exit 1; }
        done || _status=1
        cd /
        ln -sfn ${etc}/etc /etc/static
        # Debian's systemd looks for its parts there.
        mkdir -p /bin /usr/bin /lib /usr/lib /sbin /usr/sbin /var/empty /var/www
        ln -sfn ${systemd}/lib/systemd /lib/systemd
        ln -sfn ${systemd}/usr/lib/systemd /usr/lib/systemd
        for d in sysusers.d tmpfiles.d sysctl.d; do [ ! -d ${systemd}/usr/lib/$d ] || ln -sfn ${systemd}/usr/lib/$d /usr/lib/$d; done
        for f in ${systemd}/bin/* ${systemd}/usr/bin/* ${systemPath}/bin/mount ${systemPath}/bin/umount; do
          ln -sfn "$f" /bin/
        done
        ln -sfn ${shell} /bin/sh
        ln -sfn ${systemPath}/bin/env /usr/bin/env
        ln -sfn @out@ /run/current-system
        exit $_status
      '';
      switch = ''
        #!${shell}
        # switch-to-configuration: activate, then stop, start and restart what differs.
        export PATH=${systemPath}/bin
        case "$1" in switch | test) ;; boot) exit 0 ;; *) echo "Usage: $0 [switch|boot|test]" >&2; exit 1 ;; esac
        old=$(readlink -f /run/current-system/etc/systemd/system)
        new=$(readlink -f @out@/etc/systemd/system)
        stop= restart=
        for f in "$old"/*.service; do
          u=$(basename "$f")
          [ "$(readlink -f "$f")" != /dev/null ] || continue
          if [ ! -e "$new/$u" ]; then
            stop="$stop $u"
          elif [ "$(readlink -f "$f")" != "$(readlink -f "$new/$u")" ] && ! grep -q X-RestartIfChanged=false "$new/$u"; then
            systemctl -q is-active "$u" && restart="$restart $u"
          fi
        done
        [ -z "$stop" ] || { echo "stopping the following units:$stop"; systemctl stop $stop; }
        echo "activating the configuration..."
        @out@/activate || exit 2
        systemctl daemon-reload
        [ -z "$restart" ] || { echo "restarting the following units:$restart"; systemctl restart $restart || failed=1; }
        systemctl start multi-user.target
        sleep 0.2
        bad=$(systemctl list-units --state=failed,auto-restart --plain --no-legend | while read -r u _; do [ ! -e "$new/$u" ] || [ "$u" = nixoci-apply.service ] || echo -n " $u"; done)
        if [ -n "$bad" ]; then echo "warning: the following units failed:$bad"; exit 4; fi
      '';
      inherit (cfg.system) extraDependencies;
      passAsFile = [ "init" "activate" "switch" ];
    } ''
      mkdir -p "$out/bin"
      sed "s,@out@,$out,g" "$initPath" >"$out/init"
      sed "s,@out@,$out,g" "$activatePath" >"$out/activate"
      sed "s,@out@,$out,g" "$switchPath" >"$out/bin/switch-to-configuration"
      chmod +x "$out/init" "$out/activate" "$out/bin/switch-to-configuration"
      ln -s "$etc/etc" "$out/etc"
      ln -s "$systemPath" "$out/sw"
      ln -s "$systemd" "$out/systemd"
      printf %s "24.05.debian12" >"$out/nixos-version"
      printf %s "$hostPlatform" >"$out/system"
      printf %s "systemd 2" >"$out/init-interface-version"
      : >"$out/kernel-params"
      echo "$extraDependencies" >"$out/extra-dependencies"
      eval "$buildCommands"'';
  };
}
