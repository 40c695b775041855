{
  configuration = {
    security.acme.acceptTerms = true;
    security.acme.defaults.email = "admin@example.org";
    services.nginx.enable = true;
    services.nginx.virtualHosts."example.org" = {
      enableACME = true;
      forceSSL = true;
      root = "/srv/www";
    };
  };
  expected.systemd.timers."acme-renew-example.org".wantedBy = [ "timers.target" ];
  # Until 25.05 the timer has another name.
  nixpkgs = "25.11";
}
