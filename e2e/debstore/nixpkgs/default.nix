# The packages of one system: Debian's, under the names that NixOS modules use.
{ system }:
let
  releases = builtins.fromJSON (builtins.readFile ./releases.json);
  packagesOf =
    release:
    import ./debian/packages.nix {
      inherit system;
      json = ./. + "/packages-${release}-${system}.json";
    };
  debian = packagesOf releases.packages;
  # Nix may be of another release, with that release's libraries.
  debianNix = (packagesOf releases.nix).nix-bin;
  versionOf =
    p: builtins.head (builtins.match "[a-z-]*-([0-9]+\\.[0-9]+(\\.[0-9]+)?).*" p.name);
  # Builders run in the container too, where only the store has programs.
  store = import ./debian/lib.nix {
    inherit system;
    path = builtins.concatStringsSep ":" (
      [ "/usr/bin:/bin" ] ++ map (p: "${p}/bin:${p}/usr/bin") [ debian.coreutils debian.sed ]
    );
  };
  # A Debian package with its programs in bin, as nixpkgs has them.
  programs =
    name: p:
    store.run name { inherit p; } ''
      mkdir -p "$out/bin"
      for d in bin sbin usr/bin usr/sbin; do
        [ -d "$p/$d" ] || continue
        for f in "$p/$d"/*; do ln -sf "$f" "$out/bin/"; done
      done'';
in
rec {
  inherit debian store;
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
  nix = programs "nix-${versionOf debianNix}" debianNix // {
    version = versionOf debianNix;
    debian = debianNix;
  };
  nftables = programs "nftables-1.0" debian.nftables;
  procps = programs "procps-4.0" debian.procps;
  util-linux = programs "util-linux-2.38" debian.util-linux;
  systemd = debian.systemd // {
    interfaceVersion = 2;
  };
  # Flakes at a path need none.
  gitMinimal = store.run "git-none" { } ''mkdir -p "$out/bin"'';
  # The only package that the container module has itself; there is no Go here
  # to compile it with.
  callPackage =
    _: _:
    builtins.path {
      name = "nixoci-init";
      path = ./. + "/nixoci-init/${system}";
    };
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
