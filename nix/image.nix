# Makes an image of packages, as a small derivation. The derivation is the file
# with the image's specification (docs/specification.md), which refers to the
# packages. The store contains no tar. The attributes of the derivation are
# programs:
#
#   push    push to a registry: the argument REF, or name:tag
#   load    load into docker or podman
#   run     load it and start it
#   layout  write an OCI layout: the argument DIR
#   plan    show the layers
#   verify  compare an image in a registry: the argument REF
#
# and, by the names of nix2container, copyToRegistry, copyToDockerDaemon,
# copyToPodman and copyTo. More arguments are flags of nixoci.
# docs/nix-function.md describes the arguments of the function.
{
  pkgs ? import <nixpkgs> { },
  nixoci ? (pkgs.buildPackages or pkgs).callPackage ./nixoci.nix { },
}:

let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    filter
    functionArgs
    genList
    head
    isAttrs
    isList
    length
    listToAttrs
    map
    split
    tail
    unsafeDiscardStringContext
    ;
  inherit (pkgs) lib;
  # Packages for the machine that makes the image. They differ from pkgs if pkgs
  # compiles for another system.
  tools = pkgs.buildPackages or pkgs;

  fail = text: throw "nixoci image: ${text}";

  # These are the names of a config in dockerTools and nix2container.
  configNames = [
    "Cmd"
    "Entrypoint"
    "Env"
    "ExposedPorts"
    "Healthcheck"
    "Labels"
    "StopSignal"
    "User"
    "Volumes"
    "WorkingDir"
  ];

  # Arguments of dockerTools and nix2container that the function does not have,
  # each with what to do instead.
  commands = "no command runs while the image is made; list files with their owners and modes in files, copy a directory with { path; source; uid; }, or build the files with pkgs.runCommand and name the result in copyToRoot";
  storeOwner = "files in the store belong to root, so that a layer is the same in every image; give directories that a user writes to in files";
  instead = {
    extraCommands = commands;
    fakeRootCommands = commands;
    runAsRoot = commands;
    enableFakechroot = commands;
    diskSize = commands;
    buildVMMemorySize = commands;
    perms = "name the files in files, with uid, gid and mode; { path = \"/home/app\"; source = \"${"$"}{drv}/home/app\"; uid = 1000; } copies a directory";
    includeStorePaths = "an image without its store paths cannot run";
    keepContentsDirlinks = "nothing is copied to the root: copyToRoot makes links";
    uid = storeOwner;
    gid = storeOwner;
    uname = storeOwner;
    gname = storeOwner;
    nixUid = storeOwner;
    nixGid = storeOwner;
    mtime = "files have the time that Nix gives them, 1 second after 1970";
    fromImageName = "fromImage names the image";
    fromImageTag = "fromImage names the image";
    reproducible = "leave it out: a layer is what the store has";
    metadata = "leave it out: the history lists the store paths of each layer";
    ignore = "leave it out: the layers have packages only";
    deps = "of an image it is contents";
    drv = "name the packages in contents; there is no image of a nix-shell";
  };
  # Returns the arguments, if the function takes each of them.
  checked =
    what: takes: given:
    let
      unknown = filter (n: !takes ? ${n}) (attrNames given);
      name = head unknown;
    in
    if unknown == [ ] then
      given
    else
      fail "${what} has no ${name}${
        if instead ? ${name} then ": ${instead.${name}}" else "; it has ${toString (attrNames takes)}"
      }";

  # Returns the store paths in a text, each once.
  storePaths =
    text:
    lib.unique (
      map head (filter isList (split "(${builtins.storeDir}/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+)" text))
    );

  # Returns the name and the value of a variable: A and "b=c" for "A=b=c".
  variable =
    text:
    let
      parts = lib.splitString "=" text;
    in
    if length parts < 2 then
      fail "Env: ${text} has no ="
    else
      lib.nameValuePair (unsafeDiscardStringContext (head parts)) (lib.concatStringsSep "=" (tail parts));

  # Returns a list as it is. Of a set, such as ExposedPorts or Volumes, it returns the names.
  names = x: if isAttrs x then attrNames x else x;
  list = x: if isList x then x else if x == null then [ ] else [ x ];

  # Maps the names of architectures in images to the systems of Nix.
  systems = {
    amd64 = "x86_64-linux";
    arm64 = "aarch64-linux";
    "386" = "i686-linux";
    arm = "armv7l-linux";
    riscv64 = "riscv64-linux";
    ppc64le = "powerpc64le-linux";
    s390x = "s390x-linux";
  };

  # Returns the platform of a system. A name such as linux/amd64 is already a platform.
  platformOf =
    system:
    let
      found = filter (arch: systems.${arch} == system) (attrNames systems);
    in
    if found == [ ] then
      system
    else if head found == "arm" then
      "linux/arm/v7"
    else
      "linux/${head found}";

  # Returns a layer and the layers in it, as a list. The inner layers come first,
  # and keep the paths that several layers name.
  flatten =
    layer:
    let
      l = checked "a layer" {
        glob = true;
        name = true;
        deps = true;
        copyToRoot = true;
        layers = true;
        maxLayers = true;
      } layer;
    in
    concatMap flatten (l.layers or [ ]) ++ [ l ];

  function =
    {
      name,
      tag ? null,
      contents ? [ ],
      copyToRoot ? [ ],
      platforms ? { },
      architecture ? null,
      arch ? architecture,
      config ? { },
      links ? [ ],
      sh ? false,
      caCertificates ? false,
      nixDatabase ? false,
      fromImage ? null,
      includeNixDB ? nixDatabase,
      initializeNixDatabase ? includeNixDB,
      users ? [ ],
      files ? [ ],
      init ? [ ],
      annotations ? { },
      describe ? { },
      created ? null,
      compression ? null,
      compressor ? null,
      format ? null,
      maxLayers ? null,
      layers ? [ ],
      strategy ? null,
      attest ? [ ],
      meta ? { },
      passthru ? { },
    }:

    let
      system =
        if arch == null then
          pkgs.stdenv.hostPlatform.system
        else
          systems.${arch} or (fail "architecture ${arch} is none of ${toString (attrNames systems)}");
      given = lib.mapAttrs' (n: v: lib.nameValuePair (lib.toLower n) v) (
        let
          unknown = filter (n: !(lib.elem (lib.toLower n) (map lib.toLower configNames))) (
            attrNames (if config == null then { } else config)
          );
        in
        if unknown != [ ] then
          fail "config has no ${head unknown}; it has ${toString configNames}"
        else if config == null then
          { }
        else
          config
      );

      allLayers = concatMap flatten layers;
      toRoot = list copyToRoot ++ concatMap (l: list (l.copyToRoot or [ ])) allLayers;
      packages =
        lib.unique (list contents)
        ++ filter (p: !(lib.elem p (list contents))) (
          lib.unique (toRoot ++ concatMap (l: l.deps or [ ]) allLayers)
        );
      allContents = packages ++ concatLists (lib.attrValues platforms);
      # Packages that only the config and files name are in the image, too.
      named = filter (p: !(lib.elem p (map (q: unsafeDiscardStringContext "${q}") packages))) (
        storePaths (unsafeDiscardStringContext (builtins.toJSON [ given files ]))
      );

      # Leave out empty values, so that the defaults apply.
      present = lib.filterAttrs (_: v: v != null && v != [ ] && v != { } && v != false && v != "");
      env = given.env or { };
      # Docker's config has nanoseconds, and a specification "30s".
      health = lib.mapAttrs' (
        n: v:
        lib.nameValuePair (lib.toLower (builtins.substring 0 1 n) + builtins.substring 1 (-1) n) (
          if builtins.isInt v && n != "Retries" && n != "retries" then "${toString v}ns" else v
        )
      ) (if given.healthcheck or null == null then { } else given.healthcheck);
      words =
        name: x: if isList x || x == null then x else fail "${name} is a list, with an element for each word";
      entrypoint = words "Entrypoint" (given.entrypoint or null);
      cmd = words "Cmd" (given.cmd or null);
      # Each path of a layer is an entry of the specification.
      layersOf =
        i:
        let
          l = builtins.elemAt allLayers i;
          name = l.name or "layer-${toString (i + 1)}";
        in
        lib.optional (l ? glob) { inherit (l) glob; inherit name; }
        ++ map (p: {
          glob = "${p}";
          inherit name;
        }) ((l.deps or [ ]) ++ list (l.copyToRoot or [ ]));

      specification = present {
        nixociImage = 1;
        contents =
          map (p: "${system}=${p}") (packages ++ named)
          ++ concatLists (lib.mapAttrsToList (s: ps: map (p: "${s}=${p}") ps) platforms);
        programs = listToAttrs (
          concatLists (
            map (
              p:
              if isAttrs p && p ? meta.mainProgram then
                [ (lib.nameValuePair (unsafeDiscardStringContext "${p}") p.meta.mainProgram) ]
              else
                [ ]
            ) allContents
          )
        );
        links = links ++ lib.optional (toRoot != [ ]) "/";
        nixDatabase = initializeNixDatabase;
        inherit
          sh
          caCertificates
          users
          files
          annotations
          describe
          format
          ;
        fromImage = if isAttrs fromImage then null else fromImage;
        fromImages = lib.mapAttrs' (
          s: image: lib.nameValuePair (platformOf s) image
        ) (if isAttrs fromImage then fromImage else { });
        init = list init;
        compression =
          if compressor == null then
            compression
          else if compressor == "gz" then
            "gzip"
          else
            compressor;
        created =
          if created == "now" then
            fail "created = \"now\" gives another image each time; leave it out, or name a time"
          else
            created;
        config =
          present {
            inherit cmd;
            env = if isList env then listToAttrs (map variable env) else env;
            labels = given.labels or null;
            user = if given ? user then toString given.user else null;
            workingDir = given.workingdir or null;
            stopSignal = given.stopsignal or null;
            healthcheck = health;
            ports = names (given.exposedports or [ ]);
            volumes = names (given.volumes or [ ]);
          }
          # With a command alone, the image has no entrypoint, and the command starts.
          // lib.optionalAttrs (entrypoint != null || cmd != null) {
            entrypoint = if entrypoint == null then [ ] else entrypoint;
          };
        layers = present {
          max = maxLayers;
          inherit strategy;
          named = concatLists (genList layersOf (length allLayers));
        };
      };

      base = baseNameOf name;
      file = tools.writeText "image-${base}.json" (builtins.toJSON specification);
      reference = name + lib.optionalString (tag != null) ":${tag}";
      # docker load and podman load also accept names without a registry.
      local = if tag == null then "${name}:latest" else reference;

      program =
        what: text:
        tools.writeShellScriptBin "${what}-${base}" ''
          set -euo pipefail
          # CONTAINER_ENGINE if set, else docker, else podman.
          engine=''${CONTAINER_ENGINE:-}
          [ -n "$engine" ] || { command -v docker >/dev/null 2>&1 && engine=docker || engine=podman; }
          nixoci() { ${nixoci}/bin/nixoci "$@"; }
          spec=${file}
          # docker and podman get the layers that they lack, another engine gets all.
          load() {
            case $engine in
            docker) nixoci build -o docker-daemon:${lib.escapeShellArg local} --spec "$spec" "$@" ;;
            podman) nixoci build -o containers-storage:${lib.escapeShellArg local} --spec "$spec" "$@" ;;
            *) nixoci build -o - --tag ${lib.escapeShellArg local} --spec "$spec" "$@" | "$engine" load ;;
            esac
          }
          ${text}
        ''
        // {
          meta.mainProgram = "${what}-${base}";
        };
      # Takes the first argument as the target, unless it is a flag.
      first = default: ''
        target=${lib.escapeShellArg default}
        case "''${1:--}" in
        -*) ;;
        *) target=$1; shift ;;
        esac
      '';
      attested = lib.optionalString (attest != [ ]) "--attest ${lib.concatStringsSep "," attest} ";
      push = ''
        nixoci push "$target" --spec "$spec" ${attested}"$@"
      '';
      load = ''
        load "$@"
      '';
    in
    file
    // passthru
    // {
      inherit specification;
      # meta.nix reads this attribute for nixoci push --meta-from .#image.
      imageContents = allContents;
      meta = {
        description = "Image ${name}";
      }
      // meta;
      imageName = name;
      imageTag = if tag == null then "latest" else tag;
      imageRefUnsafe = unsafeDiscardStringContext local;
      push = program "push" (first reference + push);
      load = program "load" load;
      run = program "run" ''
        load --quiet >/dev/null
        exec "$engine" run --rm ${lib.escapeShellArg local} "$@"
      '';
      layout = program "layout" ''
        ${first "./${base}"}
        nixoci build -o "oci:$target" --spec "$spec" "$@"
      '';
      plan = program "plan" ''
        nixoci plan --spec "$spec" "$@"
      '';
      verify = program "verify" ''
        ${first reference}
        nixoci verify "$target" --spec "$spec" "$@"
      '';

      # The names of nix2container.
      copyToRegistry = program "copy-to-registry" ("target=${lib.escapeShellArg reference}\n" + push);
      copyToDockerDaemon = program "copy-to-docker-daemon" ("engine=docker\n" + load);
      copyToPodman = program "copy-to-podman" ("engine=podman\n" + load);
      copyTo = program "copy-to" ''
        target=''${1:?copy-to-${base}: name the destination, such as docker://REF or oci:DIR}
        shift
        case $target in
        docker://*) target=''${target#docker://}; ${push} ;;
        docker-daemon:* | containers-storage:*) nixoci build -o "$target" --spec "$spec" "$@" ;;
        *) nixoci build -o "$target" --tag ${lib.escapeShellArg local} --spec "$spec" "$@" ;;
        esac
      '';
    };
in
arguments: function (checked "the function" (functionArgs function) arguments)
