{
  configuration = {
    services.postgresql.enable = true;
    services.matrix-synapse = {
      enable = true;
      settings.server_name = "example.org";
      settings.listeners = [
        {
          port = 8008;
          bind_addresses = [ "::" ];
          type = "http";
          tls = false;
          x_forwarded = true;
          resources = [
            {
              names = [ "client" ];
              compress = true;
            }
          ];
        }
      ];
      extraConfigFiles = [ "/run/secrets/synapse.yaml" ];
    };
  };
}
