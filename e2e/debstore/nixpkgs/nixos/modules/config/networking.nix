{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
in
{
  imports = [
    (lib.mkRemovedOptionModule [ "networking" "hostConf" ] "Use environment.etc.\"host.conf\" instead.")
  ];

  options.networking = {
    hosts = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
    };
    hostFiles = mkOption {
      type = types.listOf types.path;
      default = [ ];
    };
    extraHosts = mkOption {
      type = types.lines;
      default = "";
    };
  };

  config = {
    networking.hosts."127.0.0.2" =
      lib.optional (cfg.hostName != "" && cfg.domain != null) "${cfg.hostName}.${cfg.domain}"
      ++ lib.optional (cfg.hostName != "") cfg.hostName;
    networking.hostFiles = lib.mkBefore [
      (pkgs.writeText "localhost-hosts" ''
        127.0.0.1 localhost
        ${lib.optionalString cfg.enableIPv6 "::1 localhost"}
      '')
      (pkgs.writeText "string-hosts" (
        lib.concatStrings (
          lib.mapAttrsToList (ip: names: "${ip} ${lib.concatStringsSep " " names}\n") (
            lib.filterAttrs (_: v: v != [ ]) cfg.hosts
          )
        )
      ))
      (pkgs.writeText "extra-hosts" cfg.extraHosts)
    ];
    environment.etc.hosts.source = pkgs.concatText "hosts" cfg.hostFiles;
    environment.etc."host.conf".text = "multi on\n";
  };
}
