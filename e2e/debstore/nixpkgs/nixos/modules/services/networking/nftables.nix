{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.networking.nftables;
  table =
    { name, ... }:
    {
      options = {
        name = mkOption {
          type = types.str;
          default = name;
        };
        family = mkOption { type = types.str; };
        content = mkOption { type = types.lines; };
      };
    };
in
{
  options.networking.nftables = {
    enable = mkOption {
      type = types.bool;
      default = false;
    };
    ruleset = mkOption {
      type = types.lines;
      default = "";
    };
    tables = mkOption {
      type = types.attrsOf (types.submodule table);
      default = { };
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ pkgs.nftables ];
    # As in NixOS, there is no condition on CAP_NET_ADMIN.
    systemd.services.nftables = {
      description = "nftables firewall";
      after = [ "sysinit.target" ];
      before = [
        "network-pre.target"
        "shutdown.target"
      ];
      conflicts = [ "shutdown.target" ];
      wants = [
        "network-pre.target"
        "sysinit.target"
      ];
      wantedBy = [ "multi-user.target" ];
      reloadIfChanged = true;
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${pkgs.nftables}/bin/nft -f ${
          pkgs.writeText "nftables-rules" (
            "flush ruleset\n"
            + lib.concatStrings (
              lib.mapAttrsToList (_: t: "table ${t.family} ${t.name} {\n${t.content}}\n") cfg.tables
            )
            + cfg.ruleset
          )
        }";
        ExecStop = "${pkgs.nftables}/bin/nft flush ruleset";
      };
    };
  };
}
