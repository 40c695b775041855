{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.nginx;
  hosts = lib.mapAttrsToList (name: host: ''
    server {
      listen 0.0.0.0:80;
      server_name ${name};
      root ${host.root};
      location / {
        index index.html;
      }
    }
  '') cfg.virtualHosts;
  conf = pkgs.writeText "nginx.conf" ''
    pid /run/nginx/nginx.pid;
    error_log stderr;
    daemon off;
    user www-data;
    events { }
    http {
      include ${pkgs.debian.nginx-common}/etc/nginx/mime.types;
      access_log off;
      client_body_temp_path /run/nginx/body;
      proxy_temp_path /run/nginx/proxy;
      fastcgi_temp_path /run/nginx/fastcgi;
      uwsgi_temp_path /run/nginx/uwsgi;
      scgi_temp_path /run/nginx/scgi;
      ${lib.concatStringsSep "\n" hosts}
    }
  '';
in
{
  options.services.nginx = {
    enable = lib.mkEnableOption "nginx";
    virtualHosts = mkOption {
      default = { };
      type = types.attrsOf (types.submodule {
        options.root = mkOption { type = types.nullOr types.path; default = null; };
      });
    };
  };
  config = lib.mkIf cfg.enable {
    users.users.www-data = {
      isSystemUser = true;
      uid = 33;
      group = "www-data";
      home = "/var/www";
    };
    users.groups.www-data.gid = 33;
    systemd.services.nginx = {
      description = "Nginx Web Server";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        ExecStartPre = "${pkgs.nginx}/bin/nginx -t -c ${conf}";
        ExecStart = "${pkgs.nginx}/bin/nginx -c ${conf}";
        RuntimeDirectory = "nginx";
        Restart = "on-failure";
      };
    };
  };
}
