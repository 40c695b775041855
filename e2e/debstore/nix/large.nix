# A server with much on it: what is installed is every package of the list that
# has programs, and the units are those of the services among them.
#
# message is what a change of the configuration alone changes.
{ system, json, installed, message ? "welcome" }:
let
  packages = import ./packages.nix { inherit system json; };
  lib = import ./lib.nix { inherit system; };
  inherit (lib) text unit script;
  p = packages;
  shell = "${p.bash}/bin/bash";

  nginxConf = text "nginx.conf" ''
    daemon off;
    events { }
    http {
      include ${p.media-types}/etc/mime.types;
      server { listen 80; location / { return 200 "${message}\n"; } }
    }
  '';
  haproxyConf = text "haproxy.cfg" ''
    defaults
      mode http
      timeout connect 5s
      timeout client 30s
      timeout server 30s
    frontend web
      bind :8080
      default_backend nginx
    backend nginx
      server nginx 127.0.0.1:80
  '';
  redisConf = text "redis.conf" ''
    bind 127.0.0.1
    dir /var/lib/redis
  '';
  preStart = script "unit-script-postgresql-pre-start" ''
    #!${shell} -e
    if ! test -e /var/lib/postgresql/PG_VERSION; then
      ${p.postgresql-15}/usr/lib/postgresql/15/bin/initdb -U postgres /var/lib/postgresql
    fi
  '';
  service = name: description: exec: extra: {
    inherit name;
    unit = unit "${name}.service" ''
      [Unit]
      Description=${description}
      After=network.target

      [Service]
      Environment="LOCALE_ARCHIVE=${p.locales}/usr/lib/locale"
      Environment="PATH=${p.coreutils}/bin:${p.findutils}/usr/bin:${p.grep}/bin:${p.sed}/bin:${p.systemd}/bin"
      Environment="TZDIR=${p.tzdata}/usr/share/zoneinfo"
      ExecStart=${exec}
      Restart=always
      ${extra}
    '';
  };
  services = [
    (service "nginx" "Nginx Web Server" "${p.nginx}/usr/sbin/nginx -c ${nginxConf}" "ExecReload=${p.coreutils}/bin/kill -HUP $MAINPID")
    (service "postgresql" "PostgreSQL Server" "${p.postgresql-15}/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql" "ExecStartPre=${preStart}")
    (service "redis" "Redis Server" "${p.redis-tools}/usr/bin/redis-server ${redisConf}" "")
    (service "memcached" "memcached server daemon" "${p.memcached}/usr/bin/memcached -u nobody" "")
    (service "haproxy" "HAProxy" "${p.haproxy}/usr/sbin/haproxy -Ws -f ${haproxyConf}" "")
    (service "sshd" "SSH Daemon" "${p.openssh-server}/usr/sbin/sshd -D" "")
    (service "cron" "Cron Daemon" "${p.cron}/usr/sbin/cron -f" "")
    (service "chronyd" "NTP Daemon" "${p.chrony}/usr/sbin/chronyd -n" "")
    (service "prometheus-node-exporter" "Node exporter" "${p.prometheus-node-exporter}/usr/bin/prometheus-node-exporter" "")
    (service "phpfpm" "PHP FastCGI Process Manager" "${p."php8.2-fpm"}/usr/sbin/php-fpm8.2 -F" "")
    (service "logrotate" "Log rotation" "${p.logrotate}/usr/sbin/logrotate /etc/logrotate.conf" "Type=oneshot")
  ];
  units = lib.run "system-units"
    {
      names = map (s: "${s.name}.service") services;
      units = map (s: s.unit) services;
      inherit (p) systemd;
    } ''
    mkdir -p "$out/multi-user.target.wants"
    for u in "$systemd/lib/systemd/system/"*.target; do ln -s "$u" "$out/"; done
    set -- $units
    for name in $names; do
      ln -s "$1/$name" "$out/$name"
      ln -s "../$name" "$out/multi-user.target.wants/$name"
      shift
    done'';

  osRelease = text "etc-os-release" ''
    ID=nixos
    NAME=NixOS
    PRETTY_NAME="NixOS 24.05 (made of Debian packages)"
    VERSION_ID="24.05"
  '';
  motd = text "motd" "${message}\n";
  passwd = text "passwd" ''
    root:x:0:0:System administrator:/root:${shell}
    postgres:x:71:71:PostgreSQL server user:/var/lib/postgresql:${shell}
    nobody:x:65534:65534:Unprivileged account (don't use!):/var/empty:/bin/false
  '';
  group = text "group" ''
    root:x:0:
    postgres:x:71:
    nogroup:x:65534:
  '';
  setEnvironment = text "set-environment" ''
    export PATH="/run/current-system/sw/bin"
    export EDITOR="${p.vim}/usr/bin/vim.basic"
    export TZDIR="${p.tzdata}/usr/share/zoneinfo"
  '';
  bashrc = text "etc-bashrc" ''
    . ${setEnvironment}
    PS1='\u@\h:\w\$ '
  '';
  nixConf = text "nix.conf" ''
    experimental-features = nix-command flakes
    sandbox = false
  '';
in
import ./toplevel.nix {
  inherit lib system shell;
  inherit (p) systemd;
  hostName = "large";
  version = "24.05.20240531.debian12";
  systemPath = lib.systemPath (map (name: p.${name}) installed);
  etc = lib.etc {
    "bashrc" = bashrc;
    "group" = group;
    "motd" = motd;
    "mime.types" = "${p.media-types}/etc/mime.types";
    "nginx/nginx.conf" = nginxConf;
    "nix/nix.conf" = nixConf;
    "os-release" = osRelease;
    "passwd" = passwd;
    "protocols" = "${p.netbase}/etc/protocols";
    "services" = "${p.netbase}/etc/services";
    "ssl/certs" = "${p.ca-certificates}/usr/share/ca-certificates/mozilla";
    "systemd/system" = units;
    "zoneinfo" = "${p.tzdata}/usr/share/zoneinfo";
  };
}
