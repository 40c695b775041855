{
  configuration =
    { pkgs, ... }:
    {
      services.garage = {
        enable = true;
        package = pkgs.garage_2;
        environmentFile = "/run/secrets/garage";
        settings = {
          replication_factor = 1;
          rpc_bind_addr = "[::]:3901";
          s3_api = {
            s3_region = "garage";
            api_bind_addr = "[::]:3900";
            root_domain = ".s3.example.org";
          };
        };
      };
      services.restic.server = {
        enable = true;
        extraFlags = [ "--no-auth" ];
      };
      services.atticd = {
        enable = true;
        environmentFile = "/run/secrets/atticd";
        settings.listen = "[::]:8080";
      };
    };
  nixpkgs = "25.11"; # garage_2
}
