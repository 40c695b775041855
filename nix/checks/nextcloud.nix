{
  configuration =
    { pkgs, ... }:
    {
      services.nextcloud = {
        enable = true;
        hostName = "cloud.example.org";
        configureRedis = true;
        config.adminpassFile = "/run/secrets/nextcloud";
        config.dbtype = "pgsql";
        database.createLocally = true;
      };
    };
}
