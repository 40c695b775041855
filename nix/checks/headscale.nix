{
  configuration = {
    services.headscale = {
      enable = true;
      settings = {
        server_url = "https://headscale.example.org";
        dns.base_domain = "tail.example.org";
        dns.nameservers.global = [ "9.9.9.9" ];
      };
    };
    services.coturn = {
      enable = true;
      realm = "example.org";
      use-auth-secret = true;
      static-auth-secret-file = "/run/secrets/coturn";
    };
    services.openvpn.servers.office.config = "client";
    services.zerotierone.enable = true;
    services.netbird.enable = true;
  };
  nixpkgs = "25.05";
}
