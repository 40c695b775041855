{
  configuration = {
    # Some of these packages are marked insecure in some nixpkgs.
    nixpkgs.config.allowInsecurePredicate = _: true;
    services.nginx = {
      enable = true;
      recommendedProxySettings = true;
      recommendedTlsSettings = true;
      recommendedOptimisation = true;
      recommendedGzipSettings = true;
      streamConfig = "server { listen 127.0.0.1:53 udp; proxy_pass 10.0.0.53:53; }";
      virtualHosts.default = {
        default = true;
        locations."/".proxyPass = "http://127.0.0.1:3000";
        locations."/ws" = {
          proxyPass = "http://127.0.0.1:3001";
          proxyWebsockets = true;
        };
        basicAuthFile = "/run/secrets/htpasswd";
      };
    };
    services.oauth2-proxy = {
      enable = true;
      clientID = "x";
      keyFile = "/run/secrets/oauth2";
      email.domains = [ "*" ];
    };
    services.varnish = {
      enable = true;
      config = "vcl 4.0; backend default { .host = \"127.0.0.1\"; }";
    };
    services.squid.enable = true;
    services.tor.enable = true;
    services.openvpn.servers.office.config = "config /run/secrets/office.ovpn";
  };
}
