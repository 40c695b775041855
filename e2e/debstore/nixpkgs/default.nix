# The packages of one system: Debian's packages under the names that NixOS
# modules use.
{ system }:
let
  release = builtins.fromJSON (builtins.readFile ./release.json);
  debian = import ./debian/packages.nix {
    inherit system;
    json = ./. + "/packages-${system}.json";
  };
  versionOf =
    p: builtins.head (builtins.match "[a-z-]*-([0-9]+(\\.[0-9]+)*).*" p.name);
  # Builders also run in the container, where only the store contains programs.
  store = import ./debian/lib.nix {
    inherit system;
    path = builtins.concatStringsSep ":" (
      [ "/usr/bin:/bin" ] ++ map (p: "${p}/bin:${p}/usr/bin") [ debian.coreutils debian.sed ]
    );
  };
  # Debian packages with their programs in bin, as in nixpkgs.
  programs =
    name: packages:
    store.run name { inherit packages; } ''
      mkdir -p "$out/bin"
      for p in $packages; do
        for d in bin sbin usr/bin usr/sbin; do
          [ -d "$p/$d" ] || continue
          for f in "$p/$d"/*; do ln -sf "$f" "$out/bin/"; done
        done
      done'';
in
rec {
  inherit debian release store;
  path = ./.;
  stdenv.hostPlatform.system = system;
  bash = programs "bash-5.2" debian.bash;
  coreutils = programs "coreutils-9.1" debian.coreutils;
  curl = programs "curl-7.88" debian.curl;
  findutils = programs "findutils-4.9" debian.findutils;
  gnugrep = programs "gnugrep-3.8" debian.grep;
  gnused = programs "gnused-4.9" debian.sed;
  gnutar = programs "gnutar-1.34" debian.tar;
  gzip = programs "gzip-1.12" debian.gzip;
  nginx = programs "nginx-1.22.1" debian.nginx;
  nix = programs "nix-${versionOf debian.nix-bin}" debian.nix-bin // {
    version = versionOf debian.nix-bin;
    debian = debian.nix-bin;
  };
  nftables = programs "nftables-1.0" debian.nftables;
  # The server without LLVM, with which Debian compiles queries. It finds its
  # files relative to its own place. The updated nixpkgs has the next minor
  # version.
  postgresql =
    store.run "postgresql-15.${if builtins.pathExists ./UPDATE then "2" else "1"}"
      {
        server = debian.postgresql-15;
        client = debian.postgresql-client-15;
      }
      ''
        mkdir -p "$out/usr/lib" "$out/usr/share"
        for p in $server $client; do
          for d in lib share; do cp -r --no-preserve=mode "$p/usr/$d/postgresql" "$out/usr/$d/"; done
        done
        rm -rf "$out"/usr/lib/postgresql/15/lib/bitcode "$out"/usr/lib/postgresql/15/lib/llvmjit*
        chmod +x "$out"/usr/lib/postgresql/15/bin/*
        ln -s usr/lib/postgresql/15/bin "$out/bin"''
    // {
      psqlSchema = "15";
    };
  # The directory of PAM's modules.
  pamModules = "${debian.libpam-modules}${if release == "bookworm" then "" else "/usr"}/lib/${
    if system == "aarch64-linux" then "aarch64" else "x86_64"
  }-linux-gnu/security";
  procps = programs "procps-4.0" debian.procps;
  # Debian has mount and umount in a separate package.
  util-linux = programs "util-linux-2.38" [
    debian.util-linux
    debian.mount
  ];
  # From trixie on, everything in Debian is below /usr. Debian also has units
  # and files that NixOS does not have.
  systemd =
    (
      if release == "bookworm" then
        debian.systemd
      else
        store.run "systemd-${versionOf debian.systemd}" { p = debian.systemd; } ''
          mkdir -p "$out/usr/lib/systemd"
          ln -s "$p"/usr/* "$out/usr/" 2>/dev/null || :
          ln -s "$p"/usr/lib/* "$out/usr/lib/" 2>/dev/null || :
          ln -s "$p"/usr/lib/systemd/* "$out/usr/lib/systemd/"
          rm "$out/usr/lib/systemd/system"
          cp -rs "$p/usr/lib/systemd/system" "$out/usr/lib/systemd/"
          rm "$out/usr/lib/tmpfiles.d"
          mkdir "$out/usr/lib/tmpfiles.d"
          ln -s "$p"/usr/lib/tmpfiles.d/* "$out/usr/lib/tmpfiles.d/"
          rm -f "$out/usr/lib/tmpfiles.d/debian.conf"
          for unit in tmp.mount run-lock.mount ldconfig.service; do
            rm -f "$out/usr/lib/systemd/system/$unit" "$out"/usr/lib/systemd/system/*.wants/"$unit"
          done
          for d in bin lib sbin; do [ ! -d "$out/usr/$d" ] || ln -s "usr/$d" "$out/$d"; done''
    )
    // {
      interfaceVersion = 2;
    };
  # Flakes in a directory do not need git.
  gitMinimal = store.run "git-none" { } ''mkdir -p "$out/bin"'';
  lib = import ./lib;
  # The container module builds one package with this.
  callPackage = file: args: import file ({ inherit lib stdenvNoCC go; } // args);
  stdenvNoCC = {
    hostPlatform = {
      inherit system;
      isAarch64 = system == "aarch64-linux";
    };
    # The parts of a build that the container module's package needs.
    mkDerivation =
      attrs:
      store.run "${attrs.pname}-${attrs.version}" (removeAttrs attrs [ "meta" ]) ''
        export TMPDIR=''${TMPDIR:-/tmp}
        for p in $nativeBuildInputs; do PATH=$p/bin:$PATH; done
        cp -r "$src" source; chmod -R u+w source; cd source
        eval "$configurePhase"; eval "$buildPhase"; eval "$installPhase"'';
  };
  # There is no Go. This program copies what Go would compile.
  go =
    let
      init = builtins.path {
        name = "nixoci-init";
        path = ./. + "/nixoci-init/${system}";
      };
    in
    store.executable "go" "bin/go" ''
      #!/bin/sh
      while [ $# -gt 0 ]; do
        [ "$1" != -o ] || exec cp ${init}/bin/nixoci-init "$2"
        shift
      done
    '';
  writeText = store.text;
  writeTextFile =
    {
      name,
      text,
      destination ? "",
      executable ? false,
    }:
    if destination != "" then
      (if executable then store.executable else store.file) name ("." + destination) text
    else
      (if executable then store.script else store.text) name text;
  writeScript = store.script;
  writeShellScript = name: text: store.script name "#!${bash}/bin/bash\n${text}";
  runCommand = store.run;
  concatText = name: files: store.run name { inherit files; } ''cat $files >"$out"'';
}
