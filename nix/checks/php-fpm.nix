{
  configuration =
    { config, ... }:
    {
      services.phpfpm.pools.web = {
        user = "nginx";
        settings = {
          "listen.owner" = config.services.nginx.user;
          "pm" = "ondemand";
          "pm.max_children" = 4;
        };
      };
      services.nginx.enable = true;
      services.nginx.virtualHosts."example.org".locations."~ \\.php$".extraConfig = ''
        fastcgi_pass unix:${config.services.phpfpm.pools.web.socket};
      '';
    };
}
