# systemd.services and systemd.packages as units in /etc/systemd/system.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types optionalString concatStringsSep;
  list = mkOption { type = types.listOf types.str; default = [ ]; };
  text = default: mkOption { type = types.lines; inherit default; };
  settings = mkOption { type = types.attrsOf types.anything; default = { }; };
  flag = default: mkOption { type = types.bool; inherit default; };
  service = types.submoduleOf {
    enable = flag true;
    description = mkOption { type = types.str; default = ""; };
    wantedBy = list;
    after = list;
    before = list;
    wants = list;
    requires = list;
    path = mkOption { type = types.listOf types.package; default = [ ]; };
    environment = settings;
    preStart = text "";
    script = text "";
    serviceConfig = settings;
    unitConfig = settings;
    restartIfChanged = flag true;
    stopIfChanged = flag true;
  };
  show = v: if v == true then "true" else if v == false then "false" else toString v;
  section = s: concatStringsSep "" (lib.mapAttrsToList (n: v:
    if builtins.isList v then concatStringsSep "" (map (e: "${n}=${show e}\n") v) else "${n}=${show v}\n") s);
  script = name: body: pkgs.store.script name "#!${pkgs.bash}/bin/bash\nset -e\n${body}\n";
  unit = name: s: pkgs.store.file "unit-${name}.service" "${name}.service" ''
    [Unit]
    Description=${s.description}
    ${concatStringsSep "\n" (map (u: "After=${u}") s.after)}
    ${concatStringsSep "\n" (map (u: "Before=${u}") s.before)}
    ${concatStringsSep "\n" (map (u: "Wants=${u}") s.wants)}
    ${concatStringsSep "\n" (map (u: "Requires=${u}") s.requires)}
    ${optionalString (!s.restartIfChanged) "X-RestartIfChanged=false"}
    ${section s.unitConfig}

    [Service]
    ${section { Environment = lib.mapAttrsToList (n: v: "\"${n}=${v}\"") ({
      PATH = concatStringsSep ":" (map (p: "${p}/bin") (s.path ++ [ pkgs.coreutils pkgs.findutils pkgs.gnugrep pkgs.gnused ]));
    } // s.environment); }}
    ${optionalString (s.preStart != "") "ExecStartPre=${script "${name}-pre-start" s.preStart}"}
    ${optionalString (s.script != "") "ExecStart=${script "${name}-start" s.script}"}
    ${section s.serviceConfig}
  '';
  # A unit that has nothing to execute exists only as Debian's, if at all.
  own = lib.filterAttrs (_: s: s.enable && (s.serviceConfig ? ExecStart || s.script != "")) config.systemd.services;
  masked = lib.filterAttrs (_: s: !s.enable) config.systemd.services;
  units = pkgs.store.run "system-units" {
    inherit (config.systemd) packages;
    masked = map (n: "${n}.service") (builtins.attrNames masked);
    maskedUnits = builtins.attrNames (lib.filterAttrs (_: u: !u.enable) config.systemd.units);
    units = lib.mapAttrsToList unit own;
    wants = lib.concatMap (n: map (t: "${t} ${n}.service") own.${n}.wantedBy) (builtins.attrNames own);
  } ''
    mkdir -p "$out"
    for p in $packages; do
      [ -d "$p/etc/systemd/system" ] || continue
      for f in "$p/etc/systemd/system"/*; do ln -s "$f" "$out/"; done
    done
    for m in $masked; do ln -s /dev/null "$out/$m"; done
    for m in $maskedUnits; do ln -s /dev/null "$out/$m"; done
    for u in $units; do ln -s "$u"/* "$out/"; done
    set -- $wants
    while [ $# -gt 0 ]; do
      mkdir -p "$out/$1.wants"
      ln -s "../$2" "$out/$1.wants/$2"
      shift 2
    done
    ln -s /lib/systemd/system/multi-user.target "$out/default.target"'';
in
{
  options.systemd.services = mkOption { type = types.attrsOf service; default = { }; };
  options.systemd.units = mkOption {
    type = types.attrsOf (types.submoduleOf { enable = flag true; });
    default = { };
  };
  options.systemd.packages = mkOption { type = types.listOf types.package; default = [ ]; };
  config = {
    environment.etc."systemd/system".source = units;
    # NixOS has neither: users and groups are in /etc.
    systemd.services.systemd-sysusers.enable = false;
    systemd.services.systemd-firstboot.enable = false;
  };
}
