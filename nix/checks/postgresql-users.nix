{
  # A database for a service. It is created at the first start, and backed up.
  configuration =
    { config, pkgs, ... }:
    {
      services.postgresql = {
        enable = true;
        package = pkgs.postgresql_16;
        enableTCPIP = true;
        extensions = ps: [ ps.pgvector ];
        ensureDatabases = [ "shop" ];
        ensureUsers = [
          {
            name = "shop";
            ensureDBOwnership = true;
          }
        ];
        authentication = "host all all 10.0.0.0/8 scram-sha-256";
        initialScript = pkgs.writeText "init.sql" "select 1;";
      };
      services.postgresqlBackup.enable = true;
      systemd.services.shop = {
        requires = [ "postgresql.service" ];
        after = [ "postgresql.service" ];
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${config.services.postgresql.package}/bin/psql shop -c 'select 1'";
      };
      system.stateVersion = "25.05";
    };
  expected.system.stateVersion = "25.05";
}
