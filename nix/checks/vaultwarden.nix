{
  # A service behind its own proxy, with secrets from outside.
  configuration = {
    services.vaultwarden = {
      enable = true;
      backupDir = "/var/backup/vaultwarden";
      environmentFile = "/run/secrets/vaultwarden";
      config.DOMAIN = "https://vault.example.org";
    };
    services.caddy = {
      enable = true;
      email = "admin@example.org";
      globalConfig = "auto_https off";
      virtualHosts."http://vault.example.org".extraConfig = ''
        reverse_proxy 127.0.0.1:8222
      '';
    };
    services.vaultwarden.config.ROCKET_PORT = 8222;
  };
}
