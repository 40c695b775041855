# Returns the metadata of packages from nixpkgs: licences, homepages, maintainers,
# CPEs, and the names of patches. It builds nothing. nixoci calls this function
# with `nix eval --apply`. The argument `given` is a NixOS configuration or a
# derivation.
#
#   names    names of store paths. meta.nix looks for attributes with these names
#            in the configuration's nixpkgs
#   modules  modules to add to the configuration
#   system   system for which to evaluate the configuration; null: its own system
#
# A Nix store does not record metadata, and a store path does not name the
# attribute of its package. So meta.nix collects packages during the evaluation:
#
#   - the packages that the configuration lists
#   - the attributes of nixpkgs whose names are in names
#   - the build inputs of these packages, and the build inputs of those
#
# The result lists each package with its store paths. nixoci uses the packages
# whose store paths are in the closure, and ignores the others.
{
  names ? [ ],
  modules ? [ ],
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
    inherit modules;
    configurations.default = given;
  };
  pkgs = if isConfiguration then extended.pkgs else { };

  # Returns value, or default if nixpkgs refuses to evaluate value. nixpkgs refuses
  # packages that are broken, unfree or insecure.
  attempt =
    default: value:
    let
      r = tryEval value;
    in
    if r.success then r.value else default;
  isDerivation = d: attempt false (isAttrs d && (d.type or null) == "derivation");
  list = x: if isList x then x else [ x ];
  text = x: if isString x then unsafeDiscardStringContext x else null;

  # These sets of nixpkgs contain packages whose store paths have a prefix: the
  # store path of python3Packages.requests has the name python3.12-requests.
  sets = filter (s: attempt false (isAttrs (pkgs.${s} or null))) [
    "python3Packages"
    "perlPackages"
    "rubyPackages"
    "llvmPackages"
    "kdePackages"
  ];
  # Returns the values of the attributes with this name: in pkgs, and without the
  # prefix in the sets.
  lookup =
    name:
    let
      short = builtins.match "(python[0-9.]+|perl[0-9.]+|ruby[0-9.]+)-(.*)" name;
      found = map (n: attempt null (pkgs.${n} or null)) [ name ];
      nested = map (s: attempt null (pkgs.${s}.${builtins.elemAt short 1} or null)) sets;
    in
    found ++ (if short == null then [ ] else nested);

  # The git revision of the configuration's nixpkgs, if Nix knows it.
  revision =
    if isConfiguration then attempt null (extended.config.system.nixos.revision or null) else null;
  # Reports whether a position, such as /nix/store/…-source/pkgs/by-name/he/hello/package.nix:5,
  # is known to be in a file outside nixpkgs.
  isForeign =
    position:
    let
      inPkgs = builtins.match "(.*)/pkgs/.*" position;
    in
    isString position
    && (inPkgs == null || !builtins.pathExists (builtins.head inPkgs + "/pkgs/top-level/all-packages.nix"));

  # The search for packages begins with these packages.
  seeds =
    if isConfiguration then
      (attempt [ ] extended.config.environment.systemPackages)
      ++ (attempt [ ] extended.config.systemd.packages)
      ++ concatMap lookup names
    else
      [ given ];

  # Attributes of a package that contain other packages: its build inputs, the
  # content of an environment, the content of an image (image.nix), and the package
  # inside a wrapper.
  parts = [
    "buildInputs"
    "propagatedBuildInputs"
    "paths"
    "imageContents"
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

  # Returns a licence as an attribute set. Some packages give only its name.
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
  # Returns the metadata of one package, with the store paths of its outputs.
  describe =
    { package, ... }:
    let
      d = package;
      meta = attempt { } (d.meta or { });
      field = name: default: attempt default (meta.${name} or default);
      foreign = attempt false (isForeign (field "position" null));
    in
    {
      paths = filter (p: p != null) (
        map (o: attempt null (text (d.${o}.outPath or null))) (attempt [ "out" ] (d.outputs or [ "out" ]))
      );
      name = text (attempt null (d.pname or d.name or null));
      inherit foreign;
      commit = if foreign then null else text revision;
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
