{
  configuration = {
    services.keycloak = {
      enable = true;
      database.passwordFile = "/run/secrets/keycloak-db";
      settings = {
        hostname = "id.example.org";
        http-enabled = true;
        proxy-headers = "xforwarded";
      };
    };
    services.oauth2-proxy = {
      enable = true;
      provider = "keycloak-oidc";
      clientID = "app";
      keyFile = "/run/secrets/oauth2-proxy";
      cookie.refresh = "1h";
      email.domains = [ "*" ];
    };
  };
  nixpkgs = "24.11"; # proxy-headers
}
