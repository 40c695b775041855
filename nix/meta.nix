# Returns what nixpkgs knows of the packages of a system or a package: licences,
# homepages, maintainers, CPEs, and the names of patches. `nix eval --apply` calls
# this function with the value that the CLOSURE names. It builds nothing.
#
#   names   names of packages to look for in the configuration's nixpkgs
#   system  of a configuration: the system to evaluate it for; null: its own
#
# A store knows no meta, so the packages are found in the evaluation: those that
# the configuration lists, those whose attribute has one of the names, and what
# they are built with. Whoever asks picks those whose paths are in the closure.
{
  names ? [ ],
  system ? null,
}:
given:

let
  inherit (builtins)
    concatMap
    filter
    isAttrs
    isList
    isString
    map
    tryEval
    unsafeDiscardStringContext
    ;
  isConfiguration = given ? extendModules;
  own = given.pkgs.stdenv.hostPlatform.system;
  extended = import ./eval.nix {
    system = if system == null then own else system;
    configurations.default = given;
  };
  pkgs = if isConfiguration then extended.pkgs else { };

  # Packages may be broken, unfree or insecure. Then nixpkgs throws.
  attempt =
    default: value:
    let
      r = tryEval value;
    in
    if r.success then r.value else default;
  isDerivation = d: attempt false (isAttrs d && (d.type or null) == "derivation");
  list = x: if isList x then x else [ x ];
  text = x: if isString x then unsafeDiscardStringContext x else null;

  # An attribute of pkgs, or of a set of packages: python3.12-requests is
  # python312Packages.requests.
  sets = filter (s: attempt false (isAttrs (pkgs.${s} or null))) [
    "python3Packages"
    "perlPackages"
    "rubyPackages"
    "llvmPackages"
    "kdePackages"
  ];
  lookup =
    name:
    let
      short = builtins.match "(python[0-9.]+|perl[0-9.]+|ruby[0-9.]+)-(.*)" name;
      found = map (n: attempt null (pkgs.${n} or null)) [ name ];
      nested = map (s: attempt null (pkgs.${s}.${builtins.elemAt short 1} or null)) sets;
    in
    found ++ (if short == null then [ ] else nested);

  seeds =
    if isConfiguration then
      (attempt [ ] extended.config.environment.systemPackages)
      ++ (attempt [ ] extended.config.systemd.packages)
      ++ concatMap lookup names
    else
      [ given ];

  # What a package is made of, and the package in a wrapper.
  parts = [
    "buildInputs"
    "propagatedBuildInputs"
    "paths"
    "cc"
    "libc"
    "unwrapped"
  ];
  node = d: {
    key = unsafeDiscardStringContext d.drvPath;
    package = d;
  };
  usable = d: isDerivation d && attempt false (isString d.drvPath && d.outPath != "");
  nodes = ds: map node (filter usable ds);
  closure = builtins.genericClosure {
    startSet = nodes seeds;
    operator =
      { package, ... }:
      nodes (concatMap (p: attempt [ ] (filter isDerivation (list (package.${p} or [ ])))) parts);
  };

  license =
    l:
    if isString l then
      { fullName = text l; }
    else
      {
        spdxId = text (l.spdxId or null);
        fullName = text (l.fullName or l.shortName or null);
        url = text (l.url or null);
      };
  describe =
    { package, ... }:
    let
      d = package;
      meta = attempt { } (d.meta or { });
      field = name: default: attempt default (meta.${name} or default);
    in
    {
      paths = filter (p: p != null) (
        map (o: attempt null (text (d.${o}.outPath or null))) (attempt [ "out" ] (d.outputs or [ "out" ]))
      );
      name = text (attempt null (d.pname or d.name or null));
      position = text (field "position" null);
      description = text (field "description" null);
      homepages = filter (h: h != null) (map text (list (field "homepage" [ ])));
      licenses = map license (filter (l: isString l || isAttrs l) (list (field "license" [ ])));
      maintainers = map (m: {
        name = text (m.name or null);
        email = text (m.email or null);
      }) (filter isAttrs (list (field "maintainers" [ ])));
      cpe = text (attempt null ((field "identifiers" { }).cpe or null));
      patches = filter (p: p != null) (
        map (
          p:
          attempt null (
            text (if isAttrs p then p.name or null else baseNameOf (unsafeDiscardStringContext (toString p)))
          )
        ) (filter (p: p != null) (list (attempt [ ] (d.patches or [ ]))))
      );
    };
in

if isConfiguration || isDerivation given then
  map describe closure
else
  throw "it is neither a NixOS configuration nor a package"
