{
  configuration = {
    services.nginx.enable = true;
    specialisation.maintenance.configuration = {
      services.nginx.virtualHosts.default.locations."/".return = "503";
    };
  };
}
