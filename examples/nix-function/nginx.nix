# dockerTools.examples.nginx: buildLayeredImage with extraCommands and a user.
{ pkgs, image }:
let
  nginxPort = "80";
  nginxConf = pkgs.writeText "nginx.conf" ''
    user nginx nginx;
    daemon off;
    error_log /dev/stdout info;
    pid /dev/null;
    events {}
    http {
      access_log /dev/stdout;
      server {
        listen ${nginxPort};
        index index.html;
        location / {
          root ${nginxWebRoot};
        }
      }
    }
  '';
  nginxWebRoot = pkgs.writeTextDir "index.html" ''
    <html><body><h1>Hello from NGINX</h1></body></html>
  '';
in
image {
  name = "nginx-container";
  tag = "latest";
  contents = [ pkgs.nginx ];
  users = [ { name = "nginx"; uid = 999; } ]; # nonRootShadowSetup

  # extraCommands: mkdir -p tmp/nginx_client_body var/log/nginx
  files = [
    { path = "/tmp/nginx_client_body"; }
    { path = "/var/log/nginx"; }
  ];

  config = {
    Cmd = [
      "nginx"
      "-c"
      nginxConf
    ];
    ExposedPorts = {
      "${nginxPort}/tcp" = { };
    };
  };
}
