{
  configuration.services.gitea = {
    enable = true;
    database.type = "postgres";
    settings.server.DOMAIN = "git.example.org";
  };
}
