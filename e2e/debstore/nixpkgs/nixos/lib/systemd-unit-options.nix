# The options of units, by the type of unit.
{ lib }:
let
  inherit (lib) mkOption types;
  names = mkOption {
    type = types.listOf types.str;
    default = [ ];
  };
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };
  section = mkOption {
    type = types.attrsOf types.anything;
    default = { };
  };
  text =
    default:
    mkOption {
      type = types.lines;
      inherit default;
    };
in
rec {
  # The options that all units have.
  shared = {
    enable = flag true;
    overrideStrategy = mkOption {
      type = types.enum [
        "asDropinIfExists"
        "asDropin"
      ];
      default = "asDropinIfExists";
    };
    wantedBy = names;
    requiredBy = names;
    aliases = names;
  };

  concrete = shared // {
    text = mkOption {
      type = types.nullOr types.str;
      default = null;
    };
    unit = mkOption { type = types.unspecified; };
  };

  common = shared // {
    description = mkOption {
      type = types.str;
      default = "";
    };
    documentation = names;
    after = names;
    before = names;
    wants = names;
    requires = names;
    requisite = names;
    bindsTo = names;
    partOf = names;
    conflicts = names;
    unitConfig = section;
  };

  service = common // {
    path = mkOption {
      type = types.listOf types.package;
      default = [ ];
    };
    environment = mkOption {
      type = types.attrsOf (types.nullOr (types.coercedTo types.path toString types.str));
      default = { };
    };
    preStart = text "";
    postStart = text "";
    preStop = text "";
    postStop = text "";
    script = text "";
    serviceConfig = section;
    restartIfChanged = flag true;
    reloadIfChanged = flag false;
    stopIfChanged = flag true;
    restartTriggers = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
    };
    startAt = mkOption {
      type = types.coercedTo types.str (s: [ s ]) (types.listOf types.str);
      default = [ ];
    };
  };

  socket = common // {
    listenStreams = names;
    listenDatagrams = names;
    socketConfig = section;
  };

  timer = common // {
    timerConfig = section;
  };

  mount = common // {
    what = mkOption { type = types.str; };
    where = mkOption { type = types.str; };
    type = text "";
    options = text "";
    mountConfig = section;
  };

  target = common;
}
