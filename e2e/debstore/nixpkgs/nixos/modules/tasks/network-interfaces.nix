# Here mkOption comes from utils, as in NixOS's module. To evaluate one of these
# options, Nix needs _module.args, and therefore the names of everything that
# any module defines.
{
  config,
  options,
  lib,
  pkgs,
  utils,
  ...
}:

with lib;
with utils;

let
  cfg = config.networking;
  opt = options.networking;
  interfaces = attrValues cfg.interfaces;
in
{
  options = {
    networking.hostName = mkOption {
      default = config.system.nixos.distroId;
      type = types.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$";
    };
    networking.fqdn = mkOption {
      type = types.str;
      default =
        if cfg.hostName != "" && cfg.domain != null then
          "${cfg.hostName}.${cfg.domain}"
        else
          throw "The FQDN is required but cannot be determined from `networking.hostName` and `networking.domain`.";
    };
    networking.fqdnOrHostName = mkOption {
      readOnly = true;
      type = types.str;
      default =
        if cfg.domain != null || opt.fqdn.highestPrio < (mkOptionDefault { }).priority then
          cfg.fqdn
        else
          cfg.hostName;
    };
    networking.hostId = mkOption {
      default = null;
      type = types.nullOr types.str;
    };
    networking.enableIPv6 = mkOption {
      default = true;
      type = types.bool;
    };
    networking.defaultGateway = mkOption {
      default = null;
      type = types.nullOr types.str;
    };
    networking.nameservers = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    networking.search = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    networking.domain = mkOption {
      default = null;
      type = types.nullOr types.str;
    };
    networking.useHostResolvConf = mkOption {
      type = types.bool;
      default = false;
    };
    networking.localCommands = mkOption {
      type = types.lines;
      default = "";
    };
    networking.interfaces = mkOption {
      default = { };
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              name = mkOption {
                type = types.str;
                default = name;
              };
              useDHCP = mkOption {
                type = types.nullOr types.bool;
                default = null;
              };
            };
          }
        )
      );
    };
    networking.useDHCP = mkOption {
      type = types.bool;
      default = true;
    };
    networking.useNetworkd = mkOption {
      type = types.bool;
      default = false;
    };
    networking.tempAddresses = mkOption {
      type = types.enum [
        "default"
        "enabled"
        "disabled"
      ];
      default = if cfg.enableIPv6 then "default" else "disabled";
    };
  };

  config = {
    warnings = optional (config.systemd.network.enable && cfg.useDHCP && !cfg.useNetworkd) ''
      The combination of `systemd.network.enable = true`, `networking.useDHCP = true` and `networking.useNetworkd = false` can cause both networkd and dhcpcd to manage the same interfaces.
    '';
    assertions = map (i: {
      assertion = stringLength i.name < 16;
      message = "The name of networking.interfaces.\"${i.name}\" is too long, it needs to be less than 16 characters.";
    }) interfaces;

    boot.kernel.sysctl = {
      "net.ipv6.conf.all.disable_ipv6" = mkDefault (!cfg.enableIPv6);
      "net.ipv6.conf.default.disable_ipv6" = mkDefault (!cfg.enableIPv6);
      "net.ipv4.ping_group_range" = mkDefault "0 2147483647";
      "net.ipv6.conf.default.use_tempaddr" = if cfg.tempAddresses == "disabled" then "0" else "2";
    };

    environment.etc.hostid = mkIf (cfg.hostId != null) { text = cfg.hostId; };
    environment.etc.hostname = mkIf (cfg.hostName != "") { text = cfg.hostName + "\n"; };

    systemd.services.network-local-commands = {
      enable = cfg.localCommands != "";
      description = "Extra networking commands.";
      before = [ "network.target" ];
      wantedBy = [ "network.target" ];
      unitConfig.ConditionCapability = "CAP_NET_ADMIN";
      serviceConfig.Type = "oneshot";
      serviceConfig.RemainAfterExit = true;
      script = cfg.localCommands;
    };
  };
}
