{
  configuration =
    { config, ... }:
    {
      services.prometheus = {
        enable = true;
        exporters.node.enable = true;
        scrapeConfigs = [
          {
            job_name = "node";
            static_configs = [ { targets = [ "localhost:9100" ]; } ];
          }
        ];
      };
      services.grafana = {
        enable = true;
        settings.server.http_addr = "0.0.0.0";
        settings.security.secret_key = "$__file{/run/secrets/grafana}";
        provision.enable = true;
      };
    };
}
