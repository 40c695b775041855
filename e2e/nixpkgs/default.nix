# Debian's packages under the names of nixpkgs. This file is in the tree as
# debian/, beside packages.json and aliases.json, which debstore writes.
{ lib, system }:
let
  raw = import ./packages.nix {
    inherit system;
    json = ./packages.json;
  };
  # Returns a Debian package, or the circle of packages that it belongs to.
  aliases = builtins.fromJSON (builtins.readFile ./aliases.json);
  deb = name: raw.${aliases.${name} or (throw "e2e/nixpkgs: ${name} is not among the Debian packages")};

  versionOf =
    name:
    builtins.head (
      builtins.match "([0-9]+([.][0-9]+)*).*" (
        lib.removePrefix "${aliases.${name}}-" (deb name).name
      )
      ++ [ "0" ]
    );

  # Adds the attributes that nixpkgs' modules read from a package.
  finish =
    {
      pname,
      version,
      drv,
      main ? pname,
      extra ? { },
    }:
    let
      self =
        drv
        // lib.genAttrs [
          "out"
          "bin"
          "dev"
          "lib"
          "py"
          "su"
          "nc"
          "host"
          "dnsutils"
          "getent"
          "mount"
          "login"
          "swap"
          "lastlog"
          "p11kit"
          "libs"
          "libxml2"
          "dist"
          "out"
          "getfacl"
          "out"
          "static"
          "debug"
          "unbundled"
          "hashed"
          "withPatches"
        ] (_: self)
        // {
          inherit pname version;
          outputs = [ "out" ];
          meta = {
            mainProgram = main;
            outputsToInstall = [ "out" ];
            description = "${pname} of Debian";
            platforms = [ system ];
            badPlatforms = [ ];
            license = [ ];
            maintainers = [ ];
            teams = [ ];
            available = true;
          };
          override = _: self;
          overrideAttrs = _: self;
          passthru = { };
          tests = { };
        }
        // extra;
    in
    self;

  # Makes links to Debian's packages. A script may change more.
  fromDebian =
    pname:
    {
      debs ? [ pname ],
      main ? pname,
      more ? "",
      env ? { },
      extra ? { },
    }:
    let
      version = versionOf (builtins.head debs);
    in
    finish {
      inherit
        pname
        version
        main
        extra
        ;
      drv = derivation (
        {
          inherit system more;
          name = "${pname}-${version}";
          builder = "${deb "bash"}/usr/bin/bash";
          args = [ ./link.sh ];
          debs = map deb debs;
          coreutils = deb "coreutils";
          sed = deb "sed";
          triplet = "x86_64-linux-gnu";
        }
        // env
      );
    };

  # An empty package with a name that some module installs.
  leftOut =
    pname:
    finish {
      inherit pname;
      version = "0";
      drv = derivation {
        inherit system;
        name = "${pname}-left-out";
        builder = "${deb "bash"}/usr/bin/bash";
        args = [
          "-c"
          "${deb "coreutils"}/usr/bin/mkdir -p $out/bin; :"
        ];
      };
    };

  # A script in the place of a program.
  script =
    pname: text:
    finish {
      inherit pname;
      version = "1";
      drv = derivation {
        inherit system pname;
        name = pname;
        text = "#!${packages.bash}/bin/bash\n${text}";
        passAsFile = [ "text" ];
        builder = "${deb "bash"}/usr/bin/bash";
        args = [
          "-c"
          ''export PATH=${deb "coreutils"}/usr/bin; mkdir -p $out/bin; cp "$textPath" $out/bin/$pname; chmod +x $out/bin/$pname; :''
        ];
      };
    };
  # A setup hook that does nothing, because the tests do not need it.
  hook =
    pname: text:
    finish {
      inherit pname;
      version = "1";
      drv = derivation {
        inherit system text;
        name = pname;
        passAsFile = [ "text" ];
        builder = "${deb "bash"}/usr/bin/bash";
        args = [
          "-c"
          ''export PATH=${deb "coreutils"}/usr/bin; mkdir -p $out/nix-support; cp "$textPath" $out/nix-support/setup-hook; :''
        ];
      };
    };

  bash = fromDebian "bash" {
    # In Debian sh is dash, but NixOS expects bash.
    more = ''ln -sfn bash "$out/bin/sh"'';
    extra.shellPath = "/bin/bash";
  };

  # Debian's perl searches for its libraries below /usr.
  perlLibraries = [
    "perl-base"
    "perl-modules"
    "libperl"
    "libfile-slurp-perl"
    "libjson-perl"
    "libconfig-inifiles-perl"
  ];
  perl = fromDebian "perl" {
    debs = [ "perl" "perl-base" ];
    env.libraries = map deb (
      lib.filter (n: aliases ? ${n}) (perlLibraries ++ lib.filter (lib.hasPrefix "perl-modules-") (lib.attrNames aliases) ++ lib.filter (lib.hasPrefix "libperl5") (lib.attrNames aliases))
    );
    more = ''
      inc=
      for p in $libraries $debs; do
        for d in $p/usr/lib/$triplet/perl* $p/usr/lib/$triplet/perl*/* $p/usr/share/perl* $p/usr/share/perl/*; do
          [ ! -d "$d" ] || inc=$inc:$d
        done
      done
      rm "$out/bin/perl"
      for p in $debs; do [ ! -x "$p/usr/bin/perl" ] || program=$p/usr/bin/perl; done
      printf '#!%s\nexport PERL5LIB=%s''${PERL5LIB:+:$PERL5LIB}\nexec %s "$@"\n' "${bash}/bin/bash" "''${inc#:}" "$program" >"$out/bin/perl"
      chmod +x "$out/bin/perl"
    '';
    extra = rec {
      withPackages = _: perl;
      buildEnv = _: perl;
      pkgs = perlPackages;
      libPrefix = "lib/perl5";
      interpreter = "${perl}/bin/perl";
    };
  };
  # perl already contains the modules that the tests need. So each of these
  # names is perl itself.
  perlPackages =
    lib.genAttrs [
      "ConfigIniFiles"
      "FileSlurp"
      "JSON"
      "NetDBus"
      "XMLParser"
      "XMLTwig"
      "DBI"
      "DBDSQLite"
    ] (_: perl)
    // {
      makePerlPath = _: "";
      makeFullPerlPath = _: "";
      inherit perl;
    };

  units = builtins.fromJSON (builtins.readFile ./units.json);
  systemd = fromDebian "systemd" {
    debs = [
      "systemd"
      "udev"
      "libpam-systemd"
      "libsystemd-shared"
    ];
    main = "systemctl";
    env = {
      inherit (units) names wants;
      passAsFile = [
        "names"
        "wants"
      ];
    };
    more = ''
      mkdir -p "$out/example/systemd/system" "$out/example/systemd/user" "$out/example/tmpfiles.d" "$out/example/sysctl.d"
      for p in $debs; do
        for kind in system user; do
          for f in "$p/usr/lib/systemd/$kind"/*; do
            to=$out/example/systemd/$kind/''${f##*/}
            if [ -L "$f" ]; then
              cp -P "$f" "$to"
            elif [ -d "$f" ]; then
              mkdir -p "$to"; cp -rP "$f/." "$to/"; chmod -R u+w "$to"
            elif [ -f "$f" ]; then
              sed "s,/usr/lib/systemd/,$out/lib/systemd/,g; s,/usr/bin/,$out/bin/,g" "$f" >"$to"
            fi
          done
        done
        for d in tmpfiles.d sysctl.d; do
          for f in "$p/usr/lib/$d"/*; do [ ! -e "$f" ] || cp "$f" "$out/example/$d/"; done
        done
      done
      # Make the units that NixOS expects but Debian does not build.
      while read -r kind name; do
        [ ! -e "$out/example/systemd/$kind/$name" ] && [ ! -L "$out/example/systemd/$kind/$name" ] || continue
        printf '[Unit]\nDescription=%s: Debian has no such unit\nConditionPathExists=!/\n' "$name" >"$out/example/systemd/$kind/$name"
        case $name in *.service)
          printf '[Service]\nType=oneshot\nExecStart=%s\n' "${packages.coreutils}/bin/true" >>"$out/example/systemd/$kind/$name" ;;
        esac
      done <"$namesPath"
      # NixOS copies the links from these directories, and needs at least one.
      while read -r kind name; do
        mkdir -p "$out/example/systemd/$kind/$name"
        ln -s ../nothing "$out/example/systemd/$kind/$name/nothing"
      done <"$wantsPath"
      for f in credstore home journal-nocow portables static-nodes-permissions systemd systemd-nologin systemd-nspawn systemd-tmp tmp var x11; do
        [ -e "$out/example/tmpfiles.d/$f.conf" ] || : >"$out/example/tmpfiles.d/$f.conf"
      done
      for f in 50-default 50-coredump; do [ -e "$out/example/sysctl.d/$f.conf" ] || : >"$out/example/sysctl.d/$f.conf"; done
      rm -rf "$out/lib/systemd/system" "$out/lib/systemd/user"
      mkdir -p "$out/lib/systemd/system" "$out/lib/systemd/user"
    '';
    extra =
      lib.genAttrs [
        "withBootloader"
        "withCryptsetup"
        "withEfi"
        "withFido2"
        "withImportd"
        "withMachined"
        "withNspawn"
        "withPortabled"
        "withRepart"
        "withSysupdate"
        "withTpm2Units"
        "withUtmp"
        "withHomed"
        "withUserDb"
        "withKexectools"
        "withRemote"
        "withOomd"
        "withVmspawn"
      ] (_: false)
      // {
        withHostnamed = true;
        withLocaled = true;
        withLogind = true;
        withNetworkd = true;
        withTimedated = true;
        withPam = true;
        withCoredump = true;
        interfaceVersion = 2;
        kbd = leftOut "kbd";
        kmod = packages.kmod;
        util-linux = packages.util-linux;
      };
  };

  glibc = fromDebian "glibc" {
    debs = [
      "libc6"
      "libc-bin"
    ];
    main = "getent";
    more = ''
      mkdir -p "$out/etc"; : >"$out/etc/rpc"
      # The activation script tells nscd about changes. nscd is off here.
      ln -s ${packages.coreutils}/bin/true "$out/bin/nscd"
    '';
  };
  # There is no compiler. NixOS's modules compile only one program, for
  # security.wrappers (wrapper.c). Here it is a script. The kernel ignores the
  # set-user-ID bit of a script, so the wrapped program runs as the calling
  # user.
  cc = finish {
    pname = "cc";
    version = "1";
    drv = derivation {
      inherit system;
      name = "cc";
      builder = "${deb "bash"}/usr/bin/bash";
      hook = "export CC=cc\n";
      text = ''
        #!${bash}/bin/bash
        set -e
        while [ $# -gt 0 ]; do
          case $1 in
            -DSOURCE_PROG=*) program=''${1#-DSOURCE_PROG=} ;;
            -o) out=$2; shift ;;
          esac
          shift
        done
        [ -n "$program" ] || { echo "cc: e2e/nixpkgs has no compiler" >&2; exit 1; }
        printf '#!%s\nexec %s "$@"\n' ${bash}/bin/bash "''${program//\"/}" >"$out"
        ${packages.coreutils}/bin/chmod +x "$out"
      '';
      passAsFile = [
        "text"
        "hook"
      ];
      args = [
        "-c"
        ''
          export PATH=${deb "coreutils"}/usr/bin; mkdir -p $out/bin $out/nix-support
          cp "$textPath" $out/bin/cc; chmod +x $out/bin/cc; cp "$hookPath" $out/nix-support/setup-hook
          :
        ''
      ];
    };
    extra = {
      libc = glibc;
      cc = leftOut "gcc";
      bintools = leftOut "binutils" // {
        bintools = leftOut "binutils";
        dynamicLinker = "${glibc}/lib/ld-linux-x86-64.so.2";
      };
      isGNU = true;
      isClang = false;
      targetPrefix = "";
      nativeTools = true;
      nativeLibc = true;
      nativePrefix = "/usr";
      langC = true;
      expand-response-params = "";
      hardeningUnsupportedFlags = [ ];
      hardeningUnsupportedFlagsByTargetPlatform = _: [ ];
    };
  };

  packages = {
    inherit bash perl systemd glibc;
    acl = fromDebian "acl" { };
    attr = fromDebian "attr" { };
    bash-completion = fromDebian "bash-completion" { };
    bind = fromDebian "bind9-host" { };
    bzip2 = fromDebian "bzip2" { };
    cacert = fromDebian "ca-certificates" {
      more = ''
        mkdir -p "$out/etc/ssl/certs"
        for p in $debs; do cat "$p"/usr/share/ca-certificates/mozilla/*.crt; done >"$out/etc/ssl/certs/ca-bundle.crt"
        ln -s ca-bundle.crt "$out/etc/ssl/certs/ca-no-trust-rules-bundle.crt"
        mkdir -p "$out/etc/ssl/trust-source"; : >"$out/etc/ssl/trust-source/ca-bundle.trust.p11-kit"
        ln -s ../.. "$out/etc/ssl/certs/unbundled"
      '';
    };
    coreutils = fromDebian "coreutils" { main = "coreutils"; };
    cpio = fromDebian "cpio" { };
    curl = fromDebian "curl" { };
    dbus = fromDebian "dbus" {
      debs = [
        "dbus"
        "dbus-daemon"
        "dbus-bin"
        "dbus-system-bus-common"
        "dbus-session-bus-common"
      ];
      main = "dbus-daemon";
    };
    dbus-broker = fromDebian "dbus-broker" { };
    diffutils = fromDebian "diffutils" { main = "diff"; };
    findutils = fromDebian "findutils" { main = "find"; };
    # Debian makes these names with update-alternatives.
    gawk = fromDebian "gawk" { more = ''ln -s gawk "$out/bin/awk"''; };
    git = fromDebian "git" { };
    gnugrep = fromDebian "grep" { };
    gnumake = fromDebian "make" { };
    gnused = fromDebian "sed" { };
    gnutar = fromDebian "tar" { };
    gzip = fromDebian "gzip" { };
    hostname-debian = fromDebian "hostname" { };
    iana-etc = fromDebian "netbase" { };
    iproute2 = fromDebian "iproute2" { main = "ip"; };
    iputils = fromDebian "iputils-ping" { main = "ping"; };
    jq = fromDebian "jq" { };
    kmod = fromDebian "kmod" { };
    less = fromDebian "less" { };
    libcap = fromDebian "libcap2-bin" { main = "setcap"; };
    libressl = fromDebian "netcat-openbsd" {
      main = "nc";
      more = ''ln -s nc.openbsd "$out/bin/nc"'';
    };
    libxslt = fromDebian "xsltproc" { };
    linux-pam = fromDebian "libpam-modules" {
      debs = [
        "libpam-modules"
        "libpam-modules-bin"
      ];
    };
    mailcap = fromDebian "media-types" {
      debs = [
        "media-types"
        "nginx-common"
      ];
    };
    logrotate = fromDebian "logrotate" { };
    man-db = fromDebian "man-db" { main = "man"; };
    mkpasswd = fromDebian "whois" { main = "mkpasswd"; };
    nano = fromDebian "nano" { };
    ncurses = fromDebian "ncurses-bin" {
      debs = [
        "ncurses-bin"
        "ncurses-base"
      ];
    };
    nginx = fromDebian "nginx" {
      more = ''
        mkdir -p "$out/conf"
        ln -s ${deb "nginx-common"}/etc/nginx/* "$out/conf/"
      '';
      extra.modules = [ ];
    };
    nix = fromDebian "nix-bin" {
      debs = [
        "nix-bin"
        "nix-setup-systemd"
      ];
      main = "nix";
      # Debian's file gives the socket to its own group.
      more = ''
        rm "$out/lib/tmpfiles.d/nix-daemon.conf"
        echo 'd /nix/var/nix/daemon-socket 0755 root root - -' >"$out/lib/tmpfiles.d/nix-daemon.conf"
      '';
    };
    openssh = fromDebian "openssh-client" { main = "ssh"; };
    patch = fromDebian "patch" { };
    procps = fromDebian "procps" { main = "ps"; };
    shadow = fromDebian "passwd" {
      debs = [
        "passwd"
        "login"
        "login.defs"
        "uidmap"
      ];
      extra.shellPath = "/bin/nologin";
      # In Debian these are in util-linux.
      more = ''
        for f in ${deb "util-linux"}/usr/sbin/nologin ${deb "util-linux"}/usr/bin/su ${deb "util-linux-extra"}/usr/bin/{newgrp,sg}; do
          [ -e "$out/bin/''${f##*/}" ] || ln -s "$f" "$out/bin/"
        done
      '';
    };
    sudo = fromDebian "sudo" { };
    time = fromDebian "time" { };
    tzdata = fromDebian "tzdata" { };
    util-linux = fromDebian "util-linux" {
      debs = [
        "util-linux"
        "util-linux-extra"
        "mount"
        "login"
        "bsdutils"
        "fdisk"
        "lastlog2"
        "libpam-lastlog2"
      ];
      main = "mount";
    };
    which = fromDebian "debianutils" {
      main = "which";
      more = ''ln -s which.debianutils "$out/bin/which"'';
    };
    xauth = fromDebian "xauth" { };
    xz = fromDebian "xz-utils" { main = "xz"; };
    zstd = fromDebian "zstd" { };
  };

  scripts = {
    gixy = script "gixy" ":";
    shellcheck = script "shellcheck" ":" // { compiler = leftOut "ghc" // { bootstrapAvailable = false; }; };
    nginx-config-formatter = script "nginxfmt" ''exec ${packages.coreutils}/bin/cat'';
    lndir = script "lndir" ''
      set -e
      while [ "''${1#-}" != "$1" ]; do shift; done
      from=$(cd "$1" && pwd)
      cd "''${2:-.}"
      (cd "$from" && ${packages.findutils}/bin/find . -type d) | while read -r d; do ${packages.coreutils}/bin/mkdir -p "$d"; done
      (cd "$from" && ${packages.findutils}/bin/find . ! -type d) | while read -r f; do ${packages.coreutils}/bin/ln -s "$from/''${f#./}" "$f"; done
    '';
    # nixoci-init.nix compiles one program, which is already here.
    go = script "go" ''
      while [ $# -gt 0 ]; do [ "$1" != -o ] || { ${packages.coreutils}/bin/cp ${./nixoci-init} "$2"; exit; }; shift; done
    '';
    # Systems without nixos-init use one of its programs. This script replaces
    # that program.
    nixos-init = script "env-generator" ''
      exec ${packages.jq}/bin/jq -r 'to_entries[]
        | .key + "=\"" + .value + (if .key == "PATH" and env.PATH then ":" + env.PATH else "" end) + "\""' \
        /etc/systemd/generator-environment.json
    '';
    switch-to-configuration-ng = script "switch-to-configuration" (builtins.readFile ./switch-to-configuration.sh);
  };

  nothing = lib.genAttrs [
    "bcache-tools"
    "dosfstools"
    "gnupg"
    "kexec-tools"
    "make-initrd-ng"
    "nix-bash-completions"
    "nix-info"
    "nixos-build-vms"
    "nixos-enter"
    "nixos-generate-config"
    "nixos-install"
    "nixos-option"
    "nixos-rebuild-ng"
    "nsncd"
    "angie"
    "fish"
    "freenginx"
    "openresty"
    "tengine"
    "xonsh"
    "zsh"
    "fuse3"
    "fuse"
    "strace"
    "rsync"
    "texinfoInteractive"
    "iptables"
    "nftables"
    "openresolv"
    "rsyslog"
    "libseccomp"
    "e2fsprogs"
  ] leftOut;
in
{
  inherit packages cc;
  replaced = {
    debian = lib.attrNames packages;
    scripts = lib.attrNames scripts;
    leftOut = lib.attrNames nothing;
  };
  tools = with packages; [
    coreutils
    findutils
    diffutils
    gnused
    gnugrep
    gawk
    gnutar
    gzip
    bzip2
    gnumake
    bash
    patch
    xz
  ];
  overlay =
    final: _:
    packages
    // scripts
    // nothing
    // {
      # A container cannot build these packages. Only this system can.
      e2eNixpkgs =
        lib.attrValues (packages // scripts // nothing)
        ++ [
          cc
          final.stdenv
          final.stdenvNoCC
          final.dieHook
          final.makeShellWrapper
          final.findXMLCatalogs
          final.glibcLocales
          final.linuxHeaders
        ];
      bashInteractive = bash;
      bashNonInteractive = bash;
      runtimeShellPackage = bash;
      runtimeShell = "${bash}/bin/bash";
      curlMinimal = packages.curl;
      coreutils-full = packages.coreutils;
      dnsutils = packages.bind;
      host = packages.bind;
      hostname = packages.hostname-debian;
      getent = glibc;
      getconf = glibc;
      libc = glibc;
      glibcLocales = leftOut "glibc-locales";
      glibcLocalesUtf8 = leftOut "glibc-locales";
      git = packages.git;
      gitMinimal = packages.git;
      netcat = packages.libressl;
      nettools = packages.hostname-debian;
      pam = packages.linux-pam;
      perlPackages = perlPackages;
      perl5 = perl;
      systemdMinimal = systemd;
      systemdLibs = systemd;
      udev = systemd;
      libudev-zero = systemd;
      util-linuxMinimal = packages.util-linux;
      utillinux = packages.util-linux;
      gcc = cc;
      gnupatch = packages.patch;
      shellcheck-minimal = scripts.shellcheck;
      nginxStable = packages.nginx;
      nginxMainline = packages.nginx;
      nixVersions = {
        stable = packages.nix;
        latest = packages.nix;
        nix_2_34 = packages.nix;
      };
      nixStable = packages.nix;
      linuxHeaders = leftOut "linux-headers";
      findXMLCatalogs = hook "find-xml-catalogs-hook" "";
      pkgsStatic = final;
      pkgsMusl = final;
    };
}
