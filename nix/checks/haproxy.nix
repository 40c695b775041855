{
  configuration = {
    services.haproxy.enable = true;
    services.haproxy.config = ''
      defaults
        mode tcp
        timeout connect 5s
        timeout client 30s
        timeout server 30s
      listen web
        bind :80
        server one app:8080
    '';
  };
}
