# The options of NixOS's module that examples/postgresql sets.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.postgresql;
  bin = "${cfg.package}/bin";
  conf = pkgs.writeText "postgresql.conf" ''
    listen_addresses = '''
    unix_socket_directories = '/run/postgresql'
    log_destination = 'stderr'
    jit = off
  '';
  # NixOS uses the same version in the name of the data directory.
  version = cfg.package.psqlSchema;
in
{
  options.services.postgresql = {
    enable = lib.mkEnableOption "PostgreSQL";
    package = mkOption {
      type = types.package;
      default = pkgs.postgresql;
    };
    dataDir = mkOption {
      type = types.path;
      default = "/var/lib/postgresql/${version}";
    };
    ensureDatabases = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
  };
  config = lib.mkIf cfg.enable {
    users.users.postgres = {
      isSystemUser = true;
      uid = 71;
      group = "postgres";
      home = "/var/lib/postgresql";
      shell = "${pkgs.bash}/bin/bash";
    };
    users.groups.postgres.gid = 71;
    environment.systemPackages = [ cfg.package ];
    systemd.services.postgresql = {
      description = "PostgreSQL Server";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      environment.PGDATA = cfg.dataDir;
      preStart = ''
        [ -e ${cfg.dataDir}/PG_VERSION ] || ${bin}/initdb -U postgres --auth=peer --no-locale --encoding=UTF8 ${cfg.dataDir}
        ln -sfn ${conf} ${cfg.dataDir}/postgresql.conf
      '';
      postStart = lib.concatMapStrings (db: ''
        ${bin}/psql -h /run/postgresql -tAc "SELECT 1 FROM pg_database WHERE datname = '${db}'" postgres | grep -q 1 ||
          ${bin}/createdb -h /run/postgresql ${db}
      '') cfg.ensureDatabases;
      serviceConfig = {
        Type = "notify";
        ExecStart = "${bin}/postgres";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        KillSignal = "SIGINT";
        User = "postgres";
        Group = "postgres";
        RuntimeDirectory = "postgresql";
        StateDirectory = "postgresql postgresql/${version}";
        StateDirectoryMode = "0750";
        TimeoutSec = 120;
      };
    };
  };
}
