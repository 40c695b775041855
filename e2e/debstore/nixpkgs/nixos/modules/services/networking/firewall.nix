# The firewall, only with nftables. With iptables the unit has another name.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.networking.firewall;
  ports = mkOption {
    type = types.listOf types.port;
    default = [ ];
  };
in
{
  options.networking.firewall = {
    enable = mkOption {
      type = types.bool;
      default = true;
    };
    allowedTCPPorts = ports;
    allowedUDPPorts = ports;
    trustedInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
  };

  config = lib.mkIf cfg.enable {
    networking.firewall.trustedInterfaces = [ "lo" ];
    networking.nftables.tables.nixos-fw = lib.mkIf config.networking.nftables.enable {
      family = "inet";
      content = ''
        chain input {
          type filter hook input priority filter; policy drop;
          iifname { ${lib.concatStringsSep ", " cfg.trustedInterfaces} } accept
          ct state { established, related } accept
          ${lib.optionalString (cfg.allowedTCPPorts != [ ])
            "tcp dport { ${lib.concatMapStringsSep ", " toString cfg.allowedTCPPorts} } accept"
          }
        }
      '';
    };
    systemd.services.firewall = lib.mkIf (!config.networking.nftables.enable) {
      description = "Firewall";
      wantedBy = [ "sysinit.target" ];
      before = [
        "network-pre.target"
        "shutdown.target"
      ];
      conflicts = [ "shutdown.target" ];
      unitConfig.ConditionCapability = "CAP_NET_ADMIN";
      unitConfig.DefaultDependencies = false;
      serviceConfig.Type = "oneshot";
      serviceConfig.RemainAfterExit = true;
      script = "${pkgs.nftables}/bin/nft add table inet nixos-fw";
    };
  };
}
