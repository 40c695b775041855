# Makes units from options, and from the units the directory that systemd reads.
{
  lib,
  config,
  pkgs,
}:
let
  inherit (lib)
    concatMapStrings
    concatStrings
    mapAttrsToList
    mkIf
    mkMerge
    optionalAttrs
    optionalString
    ;
  show = v: if v == true then "true" else if v == false then "false" else toString v;
  section =
    name: settings:
    optionalString (settings != { }) (
      "[${name}]\n"
      + concatStrings (
        mapAttrsToList (n: v: concatMapStrings (e: "${n}=${show e}\n") (lib.toList v)) settings
      )
    );
  script =
    unit: phase: body:
    pkgs.writeShellScript "unit-script-${unit}-${phase}" ''
      set -e
      ${body}
    '';
  shared = def: {
    inherit (def)
      enable
      overrideStrategy
      wantedBy
      requiredBy
      aliases
      ;
  };
  unit = def: more: shared def // { text = section "Unit" def.unitConfig + "\n" + more; };
in
rec {
  # Modules for the submodules. They convert short options to settings.
  unitConfig =
    { config, ... }:
    {
      config.unitConfig =
        optionalAttrs (config.description != "") { Description = config.description; }
        // optionalAttrs (config.documentation != [ ]) { Documentation = toString config.documentation; }
        // optionalAttrs (config.after != [ ]) { After = toString config.after; }
        // optionalAttrs (config.before != [ ]) { Before = toString config.before; }
        // optionalAttrs (config.wants != [ ]) { Wants = toString config.wants; }
        // optionalAttrs (config.requires != [ ]) { Requires = toString config.requires; }
        // optionalAttrs (config.requisite != [ ]) { Requisite = toString config.requisite; }
        // optionalAttrs (config.bindsTo != [ ]) { BindsTo = toString config.bindsTo; }
        // optionalAttrs (config.partOf != [ ]) { PartOf = toString config.partOf; }
        // optionalAttrs (config.conflicts != [ ]) { Conflicts = toString config.conflicts; }
        // optionalAttrs (config.restartTriggers or [ ] != [ ]) {
          X-Restart-Triggers = toString config.restartTriggers;
        };
    };

  serviceConfig =
    { name, config, ... }:
    {
      imports = [ unitConfig ];
      config = mkMerge [
        {
          path = lib.mkAfter [
            pkgs.coreutils
            pkgs.findutils
            pkgs.gnugrep
            pkgs.gnused
          ];
          environment.PATH = lib.concatMapStringsSep ":" (p: "${p}/bin") config.path;
        }
        (mkIf (config.preStart != "") {
          serviceConfig.ExecStartPre = [ (script name "pre-start" config.preStart) ];
        })
        (mkIf (config.script != "") {
          serviceConfig.ExecStart = "${script name "start" config.script}";
        })
        (mkIf (config.postStart != "") {
          serviceConfig.ExecStartPost = [ (script name "post-start" config.postStart) ];
        })
        (mkIf (config.preStop != "") {
          serviceConfig.ExecStop = "${script name "pre-stop" config.preStop}";
        })
        (mkIf (config.postStop != "") {
          serviceConfig.ExecStopPost = "${script name "post-stop" config.postStop}";
        })
      ];
    };

  mountConfig =
    { config, ... }:
    {
      config.mountConfig =
        {
          What = config.what;
          Where = config.where;
        }
        // optionalAttrs (config.type != "") { Type = config.type; }
        // optionalAttrs (config.options != "") { Options = config.options; };
    };

  serviceToUnit =
    def:
    unit def (
      "[Service]\n"
      + concatStrings (
        mapAttrsToList (n: v: optionalString (v != null) "Environment=${builtins.toJSON "${n}=${v}"}\n") def.environment
      )
      + optionalString def.reloadIfChanged "X-ReloadIfChanged=true\n"
      + optionalString (!def.reloadIfChanged && !def.restartIfChanged) "X-RestartIfChanged=false\n"
      + optionalString (!def.stopIfChanged) "X-StopIfChanged=false\n"
      + lib.removePrefix "[Service]\n" (section "Service" def.serviceConfig)
    );
  socketToUnit =
    def:
    unit def (
      section "Socket" (
        optionalAttrs (def.listenStreams != [ ]) { ListenStream = def.listenStreams; }
        // optionalAttrs (def.listenDatagrams != [ ]) { ListenDatagram = def.listenDatagrams; }
        // def.socketConfig
      )
    );
  timerToUnit = def: unit def (section "Timer" def.timerConfig);
  targetToUnit = def: unit def "";
  mountToUnit = def: unit def (section "Mount" def.mountConfig);

  # Each unit gets a derivation, even a masked unit.
  concreteConfig =
    { name, config, ... }:
    let
      safe = builtins.replaceStrings [ "@" "\\" ] [ "-" "-" ] name;
    in
    {
      config.unit = lib.mkDefault (
        if config.enable then
          pkgs.store.file "unit-${safe}" name config.text
        else
          pkgs.store.run "unit-${safe}-disabled" { } ''
            mkdir -p "$out"
            ln -s /dev/null "$out/${name}"''
      );
    };

  # systemd's own units stay at Debian's places. This generates only the files
  # that override them.
  generateUnits =
    units:
    let
      own = lib.filterAttrs (_: u: u.enable && u.text != null) units;
      masked = lib.filterAttrs (_: u: !u.enable) units;
      wants =
        lib.concatMap (n: map (t: "${t}.wants ${n}") own.${n}.wantedBy) (lib.attrNames own)
        ++ lib.concatMap (n: map (t: "${t}.requires ${n}") own.${n}.requiredBy) (lib.attrNames own);
    in
    pkgs.store.run "system-units"
      {
        inherit (config.systemd) packages;
        upstream = "${config.systemd.package}/lib/systemd/system";
        masked = map (u: u.unit) (lib.attrValues masked);
        names = lib.attrNames own;
        files = map (u: u.unit) (lib.attrValues own);
        strategies = map (u: u.overrideStrategy) (lib.attrValues own);
        inherit wants;
        aliases = lib.concatMap (n: map (a: "${n} ${a}") own.${n}.aliases) (lib.attrNames own);
      }
      ''
        mkdir -p "$out"
        for p in $packages; do
          for d in etc lib; do
            [ -d "$p/$d/systemd/system" ] || continue
            for f in "$p/$d/systemd/system"/*; do
              if [ -d "$f" ]; then
                mkdir -p "$out/$(basename "$f")"
                for g in "$f"/*; do ln -sf "$g" "$out/$(basename "$f")/"; done
              else
                ln -sf "$f" "$out/"
              fi
            done
          done
        done
        for m in $masked; do ln -sf /dev/null "$out/$(basename "$m"/*)"; done
        set -- $files
        for name in $names; do
          strategy=''${strategies%% *}; strategies=''${strategies#* }
          if [ "$strategy" = asDropin ] || [ -e "$out/$name" ] || [ -e "$upstream/$name" ]; then
            mkdir -p "$out/$name.d"
            ln -s "$1/$name" "$out/$name.d/overrides.conf"
          else
            ln -s "$1/$name" "$out/$name"
          fi
          shift
        done
        set -- $wants
        while [ $# -gt 0 ]; do
          mkdir -p "$out/$1"
          if [ -e "$out/$2" ]; then ln -sf "../$2" "$out/$1/$2"; else ln -sf "/lib/systemd/system/$2" "$out/$1/$2"; fi
          shift 2
        done
        set -- $aliases
        while [ $# -gt 0 ]; do
          ln -sf "$1" "$out/$2"
          shift 2
        done
        ln -s /lib/systemd/system/multi-user.target "$out/default.target"'';
}
