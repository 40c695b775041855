# An image of one program and a page, and the examples in examples/nix-function,
# made by nix/image.nix. pkgs contains the parts of nixpkgs that they need: Debian's
# packages, which are already in the store, and builders that can use the host.
{
  nixoci,
  name, # name of the image, in the registry of the examples
  registry,
  source, # source of nixoci
  debian, # store paths of Debian packages, in words NAME=PATH
  released ? "", # directory with the programs of make cross
}:
let
  system = "x86_64-linux";
  lib = import (/. + source + "/e2e/debstore/nixpkgs/lib");
  run =
    name: text: more:
    derivation (
      {
        inherit name system;
        builder = "/bin/sh";
        args = [ "-ec" "PATH=/usr/bin:/bin\n${text}" ];
      }
      // more
    );
  file =
    name: place: text:
    run name ''
      mkdir -p "$(dirname "$out$place")"
      cp "$textPath" "$out$place"
      chmod +x "$out$place"'' {
      inherit place text;
      passAsFile = [ "text" ];
    };
  writeText =
    name: text:
    run name "cp $textPath $out" {
      inherit text;
      passAsFile = [ "text" ];
    };
  # The store path of a package, and the package as nixpkgs has it: with bin.
  path =
    name:
    builtins.storePath (
      builtins.head (
        builtins.concatMap (
          word:
          let
            parts = lib.splitString "=" word;
          in
          if builtins.head parts == name then builtins.tail parts else [ ]
        ) (lib.splitString " " debian)
      )
    );
  package =
    name: program:
    run name ''
      mkdir -p $out/bin
      for f in ${path name}/bin/* ${path name}/usr/bin/* ${path name}/usr/sbin/*; do [ ! -f $f ] || ln -s $f $out/bin/; done'' { }
    // {
      meta.mainProgram = program;
    };
  buildEnv =
    { name, paths, pathsToLink ? [ ] }:
    run name ''
      mkdir -p $out/bin
      for p in $paths; do ln -s $p/bin/* $out/bin/; done'' { inherit paths; };
  busyboxOf = name: run "busybox" "mkdir -p $out/bin; cp ${path name}/bin/busybox $out/bin/; for a in sh ls env stat cat id; do ln -s busybox $out/bin/$a; done" { } // {
    meta.mainProgram = "busybox";
  };
  busybox = busyboxOf "busybox-static";
  pkgs = {
    lib = lib // {
      toLower =
        builtins.replaceStrings
          [ "A" "B" "C" "D" "E" "F" "G" "H" "I" "J" "K" "L" "M" "N" "O" "P" "Q" "R" "S" "T" "U" "V" "W" "X" "Y" "Z" ]
          [ "a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n" "o" "p" "q" "r" "s" "t" "u" "v" "w" "x" "y" "z" ];
    };
    stdenv.hostPlatform = {
      inherit system;
    };
    inherit writeText buildEnv;
    writeShellScriptBin = name: text: file name "/bin/${name}" "#!/bin/bash\n${text}";
    writeTextDir = place: text: file (baseNameOf place) "/${place}" text;
    writeScript = name: text: file name "" text;
    runCommand = name: _: text: run name text { };
    hello = file "hello-2.12" "/bin/hello" "#!${busybox}/bin/sh\necho 'Hello, world!'\n" // {
      meta.mainProgram = "hello";
    };
    bash = package "bash" "bash";
    bashInteractive = package "bash" "bash";
    coreutils = package "coreutils" "ls";
    # Debian's server is the same program as redis-check-rdb, by another name.
    redis = run "redis" "mkdir -p $out/bin; ln -s ${path "redis-tools"}/usr/bin/redis-check-rdb $out/bin/redis-server" { };
    nginx = package "nginx" "nginx";
    readline = path "libreadline8";
    pkgsStatic = { inherit busybox; };
    dockerTools = {
      usrBinEnv = run "usr-bin-env" "mkdir -p $out/usr/bin; ln -s ${busybox}/bin/env $out/usr/bin/env" { };
      binSh = run "bin-sh" "mkdir -p $out/bin; ln -s ${busybox}/bin/sh $out/bin/sh" { };
      caCertificates = file "ca-certificates" "/etc/ssl/certs/ca-bundle.crt" "certificates\n";
      fakeNss = run "fake-nss" ''
        mkdir -p $out/etc $out/var/empty
        echo root:x:0:0::/root:/bin/sh >$out/etc/passwd; echo nobody:x:65534:65534::/var/empty:/bin/sh >>$out/etc/passwd
        echo root:x:0: >$out/etc/group; echo nobody:x:65534: >>$out/etc/group'' { };
    };
  };
  page = writeText "page" "hello from a page\n";
  image = import (/. + source + "/nix/image.nix") {
    inherit pkgs;
    nixoci = run "nixoci" "mkdir -p $out/bin; cp ${nixoci} $out/bin/nixoci" { };
  };
in
{
  image = image {
    inherit name;
    tag = "1";
    contents = [ busybox ];
    config = {
      Cmd = [ "cat" "${page}" ];
      Env = [ "GREETING=a=b" ];
      User = "app";
      ExposedPorts."8080/tcp" = { };
    };
    users = [ { name = "app"; uid = 1000; } ];
    links = [ "/bin" ];
    maxLayers = 5;
  };
  # Above a base image that another tool has pushed.
  based = image {
    name = "${name}-based";
    tag = "1";
    contents = [ busybox ];
    fromImage = {
      ${system} = "${registry}/base:1";
    };
    users = [ { name = "app"; uid = 1000; } ];
    config = {
      Cmd = [ "${busybox}/bin/cat" "/etc/from" ];
      User = "app";
      Healthcheck = {
        Test = [ "CMD" "${busybox}/bin/busybox" "true" ];
        Interval = 30000000000;
      };
    };
  };
  # nixoci's own image, as the release makes it.
  own = import (/. + source + "/.ci/image") {
    packages = system: pkgs // {
      busybox = if system == "aarch64-linux" then busyboxOf "busybox-static-arm64" else busybox;
      cacert = pkgs.dockerTools.caCertificates;
    };
    programs = {
      x86_64-linux = /. + released + "/nixoci-linux-amd64";
      aarch64-linux = /. + released + "/nixoci-linux-arm64";
    };
    host = system;
  };
  # The examples, in the registry.
  examples = import (/. + source + "/examples/nix-function") {
    inherit pkgs;
    image = arguments: image (arguments // { name = "${registry}/${arguments.name}"; });
  };
}
