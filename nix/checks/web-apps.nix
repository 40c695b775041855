{
  configuration = {
    services.miniflux.enable = true;
    services.miniflux.adminCredentialsFile = "/run/secrets/miniflux";
    services.paperless.enable = true;
    services.freshrss = {
      enable = true;
      baseUrl = "https://rss.example.org";
      passwordFile = "/run/secrets/freshrss";
    };
    services.wordpress.sites."blog.example.org" = { };
    services.searx.enable = true;
    services.ollama.enable = true;
    services.ntfy-sh.enable = true;
    services.ntfy-sh.settings.base-url = "https://ntfy.example.org";
    nixpkgs.config.allowUnfree = true;
  };
  nixpkgs = "24.11";
}
