{
  configuration.services.traefik = {
    enable = true;
    staticConfigOptions.entryPoints.web.address = ":80";
  };
}
