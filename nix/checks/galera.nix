{
  configuration =
    { pkgs, ... }:
    {
      services.mysql = {
        enable = true;
        package = pkgs.mariadb;
        ensureDatabases = [ "app" ];
        galeraCluster = {
          enable = true;
          package = pkgs.mariadb-galera;
          localName = "db2";
          localAddress = "10.0.0.2";
          nodeAddresses = [
            "10.0.0.2"
            "10.0.0.3"
            "10.0.0.4"
          ];
        };
      };
      services.mysqlBackup = {
        enable = true;
        databases = [ "app" ];
      };
    };
  nixpkgs = "25.05"; # galeraCluster
}
