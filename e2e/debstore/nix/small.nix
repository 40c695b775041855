# The smallest system of testdata/. mksh is the shell and PID 1. It is a static program, so
# the system needs no C library. Tests that run nixoci hundreds of times use this system.
#
# update = true is the same system after an update. It has a newer netbase (a leaf of the
# graph, rebuilt by Debian), and the unit writes another message.
{ system, json, update ? false }:
let
  packages = import ./packages.nix { inherit system json; };
  lib = import ./lib.nix { inherit system; };
  inherit (lib) text executable unit;
  inherit (packages) mksh netbase media-types;
  shell = "${commands}/bin/sh";

  # mksh under the names of shells. It contains commands such as sleep.
  commands = lib.run "mksh-commands-59c" { inherit mksh; } ''
    mkdir -p "$out/bin"
    for name in sh ksh mksh; do
      ln -s "$(echo "$mksh"/usr/lib/*-linux-musl/bin/mksh)" "$out/bin/$name"
    done'';

  message = lib.file "message" "message.txt" ''
    This is a NixOS-shaped container for ${system}${if update then ", updated" else ""}.
  '';

  hello = unit "hello.service" ''
    [Unit]
    Description=Message

    [Service]
    Environment="PATH=${commands}/bin"
    ExecStart=${shell} -c "print -r - $(<${message}/message.txt)"
  '';

  # Stage 2 of NixOS replaces itself with this program, under the name systemd.
  systemd = executable "mksh-init-59c" "lib/systemd/systemd" ''
    #!${shell}
    print -r - "$(<${message}/message.txt)"
    while :; do sleep 3600; done
  '';

  osRelease = text "etc-os-release" ''
    ANSI_COLOR="1;34"
    ID=nixos
    NAME=NixOS
    PRETTY_NAME="NixOS 24.05 (small, made of Debian packages)"
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
  '';
  profile = text "etc-profile" ''
    . ${setEnvironment}
  '';

  units = lib.run "system-units" { inherit hello; } ''
    mkdir -p "$out/multi-user.target.wants"
    ln -s "$hello/hello.service" "$out/hello.service"
    ln -s ../hello.service "$out/multi-user.target.wants/hello.service"'';
in
import ./toplevel.nix {
  inherit lib system shell systemd;
  hostName = "small";
  version = "24.05.20240531.debian12";
  systemPath = lib.systemPath [ commands ];
  etc = lib.etc {
    "group" = group;
    "mime.types" = "${media-types}/etc/mime.types";
    "os-release" = osRelease;
    "passwd" = passwd;
    "profile" = profile;
    "protocols" = "${netbase}/etc/protocols";
    "services" = "${netbase}/etc/services";
    "systemd/system" = units;
  };
}
