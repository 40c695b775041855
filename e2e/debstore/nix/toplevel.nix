# A toplevel with the files that NixOS's has for boot.isContainer = true: init is the
# stage 2 script, which activates and then becomes systemd.
{ lib, system, hostName, version, shell, systemPath, etc, systemd }:
let
  inherit (lib) run;
  path = "${systemPath}/bin";
  init = ''
    #! ${shell}

    systemConfig=@systemConfig@

    export HOME=/root PATH="${path}"

    # Required by the activation script
    mkdir -p /etc
    if [ ! -h /etc/nixos ]; then
        mkdir -p /etc/nixos
    fi
    mkdir -p /tmp
    chmod 01777 /tmp

    # Run the script that performs all configuration activation that does
    # not have to be done at boot time.
    echo "running activation script..."
    $systemConfig/activate

    # Record the boot configuration.
    ln -sfn "$systemConfig" /run/booted-system

    # Start systemd in a clean environment.
    echo "starting systemd..."
    exec ${systemd}/lib/systemd/systemd "$@"
  '';
  activate = ''
    #!${shell}

    systemConfig='@out@'

    export PATH=/empty
    export PATH="${path}"

    _status=0
    trap "_status=1" ERR 2>/dev/null || :

    # Ensure a consistent umask.
    umask 0022

    #### Activation script snippet etc:
    echo "setting up /etc..."
    mkdir -p /etc
    cd ${etc}/etc
    find . -type l | while read -r name; do
      mkdir -p "/etc/$(dirname "$name")"
      ln -sfn "${etc}/etc/$name" "/etc/$name" || echo "cannot set /etc/$name"
    done
    cd /
    ln -sfn ${etc}/etc /etc/static

    #### Activation script snippet binsh:
    mkdir -p /bin /usr/bin
    ln -sfn "${shell}" /bin/sh
    ln -sfn "${path}/env" /usr/bin/env

    #### Activation script snippet var:
    mkdir -p /var/empty /var/log /var/lib /root

    # Make this configuration the current configuration.
    # The readlink is there to ensure that when $systemConfig = /system
    # (which is a symlink to the store), /run/current-system is still
    # used as a garbage collection root.
    mkdir -p /run
    ln -sfn "$(readlink -f "$systemConfig")" /run/current-system

    exit $_status
  '';
  switch = ''
    #!${shell}
    # switch-to-configuration for a system without a boot loader.
    export PATH="${path}"
    case "''${1-}" in
      switch | test) exec @out@/activate ;;
      boot) ;;
      dry-activate) echo "would activate the configuration..." ;;
      *) echo "Usage: $0 [switch|boot|test|dry-activate]" >&2; exit 1 ;;
    esac
  '';
in
run "nixos-system-${hostName}-${version}"
  {
    inherit init activate switch etc systemPath systemd version;
    platform = system;
    passAsFile = [ "init" "activate" "switch" ];
  } ''
  mkdir "$out" "$out/bin"
  sed "s,@systemConfig@,$out," "$initPath" >"$out/init"
  sed "s,@out@,$out," "$activatePath" >"$out/activate"
  sed "s,@out@,$out," "$switchPath" >"$out/bin/switch-to-configuration"
  chmod +x "$out/init" "$out/activate" "$out/bin/switch-to-configuration"
  ln -s "$etc/etc" "$out/etc"
  ln -s "$systemPath" "$out/sw"
  ln -s "$systemd" "$out/systemd"
  printf %s "$version" >"$out/nixos-version"
  printf %s "$platform" >"$out/system"
  printf %s "loglevel=4" >"$out/kernel-params"
  printf %s 1 >"$out/init-interface-version"
  mkdir "$out/specialisation"
  : >"$out/extra-dependencies"''
