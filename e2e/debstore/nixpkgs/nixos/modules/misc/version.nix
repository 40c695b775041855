{ config, lib, options, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.system.nixos;
in
{
  options.system = {
    nixos = {
      release = mkOption {
        type = types.str;
        readOnly = true;
        default = lib.trivial.release;
      };
      versionSuffix = mkOption {
        type = types.str;
        default = "pre-git";
      };
      revision = mkOption {
        type = types.nullOr types.str;
        default = null;
      };
      label = mkOption {
        type = types.str;
        default = cfg.release + cfg.versionSuffix;
      };
      distroId = mkOption {
        type = types.str;
        default = "nixos";
      };
    };
    stateVersion = mkOption {
      type = types.str;
      default = cfg.release;
      apply =
        v:
        lib.warnIf (
          options.system.stateVersion.highestPrio == (lib.mkOptionDefault { }).priority
        ) "system.stateVersion is not set, defaulting to ${v}. Read why this matters on https://nixos.org/manual/nixos/stable/options.html#opt-system.stateVersion." v;
    };
  };
  config = {
    assertions = [
      {
        assertion = builtins.match "[0-9]{2}\\.[0-9]{2}" config.system.stateVersion != null;
        message = "${config.system.stateVersion} is an invalid value for 'system.stateVersion'; it must be in the format \"YY.MM\".";
      }
    ];
    environment.etc.os-release.text = ''
      ID=${cfg.distroId}
      NAME=NixOS
      PRETTY_NAME="NixOS ${cfg.release} (made of Debian packages)"
      VERSION_ID="${cfg.release}"
    '';
  };
}
