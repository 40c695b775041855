# The small system of testdata/. busybox is the shell and PID 1, and its httpd
# serves one page. The system boots in any container runtime without a flag.
#
# update = true is the same system after an update. It has a newer hostname (a leaf
# of the graph, rebuilt by Debian), another page, and a unit that logs.
{ system, json, update ? false }:
let
  packages = import ./packages.nix { inherit system json; };
  lib = import ./lib.nix { inherit system; };
  inherit (lib) text executable unit;
  inherit (packages) busybox-static hostname dash bzip2 zlib1g netbase media-types;
  busybox = "${busybox-static}/bin/busybox";
  shell = "${applets}/bin/sh";

  # busybox with a link for each of its commands.
  applets = lib.run "busybox-applets-1.35.0" { busybox = busybox-static; } ''
    mkdir -p "$out/bin"
    for a in ash awk basename cat chmod cp cut date dirname du echo env false find grep head hostid httpd id init \
      kill ln ls mkdir mktemp mv nc printf ps pwd readlink rm sed sh sha256sum sleep sort tail tee test touch tr true uname vi wc wget; do
      ln -s "$busybox/bin/busybox" "$out/bin/$a"
    done'';

  index = lib.file "web-root" "index.html" ''
    <!doctype html>
    <title>nixoci sample</title>
    <p>Served by a NixOS-shaped container for ${system}${if update then ", updated" else ""}.
  '';

  httpd = unit "httpd.service" ''
    [Unit]
    Description=Busybox web server
    After=network.target

    [Service]
    Environment="PATH=${applets}/bin"
    ExecStart=${busybox} httpd -f ${if update then "-v " else ""}-p 8080 -h ${index}
    Restart=on-failure
  '';

  inittab = text "inittab" ''
    ::sysinit:${busybox} echo "nixoci sample: http://localhost:8080/"
    ::respawn:${busybox} httpd -f ${if update then "-v " else ""}-p 8080 -h ${index}
    ::ctrlaltdel:/run/current-system/sw/bin/true
  '';

  # Stage 2 of NixOS replaces itself with this program, under the name systemd.
  systemd = executable "busybox-init-1.35.0" "lib/systemd/systemd" ''
    #!${shell}
    exec -a init ${busybox} init
  '';

  osRelease = text "etc-os-release" ''
    ANSI_COLOR="1;34"
    ID=nixos
    NAME=NixOS
    PRETTY_NAME="NixOS 24.05 (sample made of Debian packages)"
    VERSION_ID="24.05"
  '';
  passwd = text "passwd" ''
    root:x:0:0:System administrator:/root:${shell}
    nobody:x:65534:65534:Unprivileged account (don't use!):/var/empty:/bin/false
  '';
  group = text "group" ''
    root:x:0:
    nogroup:x:65534:
  '';
  setEnvironment = text "set-environment" ''
    export PATH="/run/current-system/sw/bin"
    export EDITOR="vi"
  '';
  profile = text "etc-profile" ''
    . ${setEnvironment}
  '';

  units = lib.run "system-units" { inherit httpd; } ''
    mkdir -p "$out/multi-user.target.wants"
    ln -s "$httpd/httpd.service" "$out/httpd.service"
    ln -s ../httpd.service "$out/multi-user.target.wants/httpd.service"'';
in
import ./toplevel.nix {
  inherit lib system shell systemd;
  hostName = "sample";
  version = "24.05.20240531.debian12";
  systemPath = lib.systemPath [ applets hostname dash bzip2 ];
  etc = lib.etc {
    "group" = group;
    "inittab" = inittab;
    "mime.types" = "${media-types}/etc/mime.types";
    "os-release" = osRelease;
    "passwd" = passwd;
    "profile" = profile;
    "protocols" = "${netbase}/etc/protocols";
    "services" = "${netbase}/etc/services";
    "systemd/system" = units;
  };
}
