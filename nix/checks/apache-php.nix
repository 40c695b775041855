{
  configuration.services.httpd = {
    enable = true;
    adminAddr = "admin@example.org";
    enablePHP = true;
    virtualHosts."example.org".documentRoot = "/srv/www";
  };
}
