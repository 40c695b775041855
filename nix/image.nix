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
# More arguments are flags of nixoci. docs/nix-function.md describes the
# arguments of the function.
{
  pkgs ? import <nixpkgs> { },
  nixoci ? pkgs.callPackage ./nixoci.nix { },
}:

let
  inherit (builtins)
    attrNames
    concatLists
    filter
    head
    isAttrs
    isList
    isString
    listToAttrs
    map
    split
    unsafeDiscardStringContext
    ;
  inherit (pkgs) lib;

  # These are the names of a config in dockerTools and nix2container.
  configNames = [
    "Cmd"
    "Entrypoint"
    "Env"
    "ExposedPorts"
    "Labels"
    "StopSignal"
    "User"
    "Volumes"
    "WorkingDir"
  ];

  # Returns the store paths in a text, each once.
  storePaths =
    text:
    lib.unique (
      map head (filter isList (split "(${builtins.storeDir}/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+)" text))
    );

  # Returns the name of a variable: A for "A=b=c".
  variable =
    text:
    let
      parts = lib.splitString "=" text;
    in
    if builtins.length parts < 2 then
      throw "nixoci image: Env: ${text} has no ="
    else
      lib.nameValuePair (unsafeDiscardStringContext (head parts)) (lib.concatStringsSep "=" (builtins.tail parts));

  # Accepts a list, or a set whose names count, like ExposedPorts and Volumes.
  names = x: if isAttrs x then attrNames x else x;
  list = x: if isList x then x else [ x ];
in
{
  name,
  tag ? null,
  contents ? [ ],
  copyToRoot ? [ ],
  platforms ? { },
  config ? { },
  links ? [ ],
  sh ? false,
  caCertificates ? false,
  nixDatabase ? false,
  fromImage ? null,
  users ? [ ],
  files ? [ ],
  annotations ? { },
  created ? null,
  compression ? null,
  format ? null,
  maxLayers ? null,
  layers ? [ ],
  strategy ? null,
  attest ? [ ],
}:

let
  system = pkgs.stdenv.hostPlatform.system;
  given =
    let
      unknown = filter (n: !(lib.elem n (map lib.toLower configNames))) (
        map lib.toLower (attrNames config)
      );
    in
    if unknown != [ ] then
      throw "nixoci image: config has no ${head unknown}; it has ${toString configNames}"
    else
      lib.mapAttrs' (n: v: lib.nameValuePair (lib.toLower n) v) config;

  packages = list contents ++ list copyToRoot;
  # Packages that only the config names are in the image, too.
  named = filter (p: !(lib.elem p (map (q: unsafeDiscardStringContext "${q}") packages))) (
    storePaths (unsafeDiscardStringContext (builtins.toJSON given))
  );

  # Leave out empty values, so that the defaults apply.
  present = lib.filterAttrs (_: v: v != null && v != [ ] && v != { } && v != false && v != "");
  env = given.env or { };

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
        ) (packages ++ concatLists (lib.attrValues platforms))
      )
    );
    links = links ++ lib.optional (list copyToRoot != [ ]) "/";
    inherit
      sh
      caCertificates
      nixDatabase
      fromImage
      users
      files
      annotations
      compression
      format
      ;
    created =
      if created == "now" then
        throw "nixoci image: created = \"now\" gives another image each time; leave it out, or name a time"
      else
        created;
    config = present {
      entrypoint = given.entrypoint or null;
      cmd = given.cmd or null;
      env = if isList env then listToAttrs (map variable env) else env;
      labels = given.labels or null;
      user = if given ? user then toString given.user else null;
      workingDir = given.workingdir or null;
      stopSignal = given.stopsignal or null;
      ports = names (given.exposedports or [ ]);
      volumes = names (given.volumes or [ ]);
    };
    layers = present {
      max = maxLayers;
      inherit strategy;
      named = layers;
    };
  };

  base = baseNameOf name;
  file = pkgs.writeText "image-${base}.json" (builtins.toJSON specification);
  reference = name + lib.optionalString (tag != null) ":${tag}";
  # docker load and podman load also accept names without a registry.
  local = if tag == null then "${name}:latest" else reference;

  program =
    what: text:
    pkgs.writeShellScriptBin "${what}-${base}" ''
      set -euo pipefail
      # CONTAINER_ENGINE if set, else docker, else podman.
      engine() {
        e=''${CONTAINER_ENGINE:-}
        [ -n "$e" ] || { command -v docker >/dev/null 2>&1 && e=docker || e=podman; }
        "$e" "$@"
      }
      nixoci() { ${nixoci}/bin/nixoci "$@"; }
      spec=${file}
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
in
file
// {
  inherit specification;
  imageName = name;
  imageTag = tag;
  push = program "push" ''
    ${first reference}
    nixoci push "$target" --spec "$spec" ${attested}"$@"
  '';
  load = program "load" ''
    nixoci build -o - --tag ${lib.escapeShellArg local} --spec "$spec" "$@" | engine load
  '';
  run = program "run" ''
    nixoci build --quiet -o - --tag ${lib.escapeShellArg local} --spec "$spec" | engine load >&2
    engine run --rm ${lib.escapeShellArg local} "$@"
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
}
