{
  configuration.services = {
    loki = {
      enable = true;
      configuration = {
        auth_enabled = false;
        server.http_listen_port = 3100;
      };
    };
    vector.enable = true;
    vector.settings.sources.journal.type = "journald";
  };
}
