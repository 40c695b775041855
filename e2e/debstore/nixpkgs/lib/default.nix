# The parts of nixpkgs' lib that the container module, the base system and the
# configurations of the tests use. modules.nix contains the module system.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    elemAt
    filter
    genList
    head
    isAttrs
    isFunction
    length
    listToAttrs
    mapAttrs
    match
    replaceStrings
    stringLength
    substring
    tail
    ;
in
rec {
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    genList
    getAttr
    hasAttr
    head
    intersectAttrs
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    match
    partition
    replaceStrings
    seq
    sort
    stringLength
    substring
    tail
    toJSON
    zipAttrsWith
    ;

  modules = import ./modules.nix { inherit lib; };
  types = import ./types.nix { inherit lib; };
  lib = import ./.;
  inherit (modules)
    evalModules
    isOption
    literalExpression
    literalMD
    mkAfter
    mkAliasOptionModule
    mkBefore
    mkDefault
    mkEnableOption
    mkForce
    mkIf
    mkMerge
    mkOption
    mkOptionDefault
    mkOrder
    mkOverride
    mkPackageOption
    mkRemovedOptionModule
    mkRenamedOptionModule
    showOption
    ;

  trivial.release = "24.05";
  fakeHash = "";

  # General functions.
  id = x: x;
  const = x: _: x;
  flip =
    f: a: b:
    f b a;
  warn = message: builtins.trace "warning: ${message}";
  warnIf = cond: message: if cond then warn message else id;
  throwIfNot = cond: message: if cond then id else throw message;
  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;
  boolToString = b: if b then "true" else "false";

  # Functions for lists.
  optional = cond: x: if cond then [ x ] else [ ];
  optionals = cond: xs: if cond then xs else [ ];
  last = xs: elemAt xs (length xs - 1);
  init = xs: genList (elemAt xs) (length xs - 1);
  toList = x: if builtins.isList x then x else [ x ];
  flatten = x: if builtins.isList x then builtins.concatMap flatten x else [ x ];
  unique = builtins.foldl' (seen: x: if builtins.elem x seen then seen else seen ++ [ x ]) [ ];
  range = first: end: genList (n: first + n) (if first > end then 0 else end - first + 1);

  # Functions for strings.
  optionalString = cond: s: if cond then s else "";
  concatStrings = concatStringsSep "";
  concatMapStrings = f: xs: concatStrings (map f xs);
  concatMapStringsSep =
    sep: f: xs:
    concatStringsSep sep (map f xs);
  concatLines = xs: concatMapStrings (x: x + "\n") xs;
  hasPrefix = prefix: s: substring 0 (stringLength prefix) s == prefix;
  hasSuffix =
    suffix: s:
    let
      n = stringLength s - stringLength suffix;
    in
    n >= 0 && substring n (-1) s == suffix;
  removePrefix =
    prefix: s: if hasPrefix prefix s then substring (stringLength prefix) (-1) s else s;
  removeSuffix =
    suffix: s:
    if hasSuffix suffix s then substring 0 (stringLength s - stringLength suffix) s else s;
  splitString = sep: s: filter builtins.isString (builtins.split (escapeRegex sep) s);
  stringToCharacters = s: genList (n: substring n 1 s) (stringLength s);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");
  escape = chars: replaceStrings chars (map (c: "\\${c}") chars);
  escapeShellArg =
    arg:
    let
      s = toString arg;
    in
    if match "[[:alnum:],._+:@%/-]+" s == null then "'${replaceStrings [ "'" ] [ "'\\''" ] s}'" else s;
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;

  # Functions for attribute sets.
  nameValuePair = name: value: { inherit name value; };
  optionalAttrs = cond: s: if cond then s else { };
  genAttrs = names: f: listToAttrs (map (n: nameValuePair n (f n)) names);
  mapAttrsToList = f: s: map (n: f n s.${n}) (attrNames s);
  mapAttrs' = f: s: listToAttrs (mapAttrsToList f s);
  filterAttrs = p: s: listToAttrs (filter (e: p e.name e.value) (mapAttrsToList nameValuePair s));
  concatMapAttrs = f: s: builtins.foldl' (a: b: a // b) { } (mapAttrsToList f s);
  mapAttrsRecursiveCond =
    cond: f:
    let
      recurse =
        path:
        mapAttrs (
          n: v: if isAttrs v && cond v then recurse (path ++ [ n ]) v else f (path ++ [ n ]) v
        );
    in
    recurse [ ];
  recursiveUpdate =
    a: b:
    a // mapAttrs (n: v: if isAttrs v && isAttrs (a.${n} or null) then recursiveUpdate a.${n} v else v) b;
  hasAttrByPath =
    path: s: path == [ ] || (isAttrs s && s ? ${head path} && hasAttrByPath (tail path) s.${head path});
  attrByPath =
    path: default: s:
    if path == [ ] then
      s
    else if isAttrs s && s ? ${head path} then
      attrByPath (tail path) default s.${head path}
    else
      default;
  getAttrFromPath = path: attrByPath path (throw "cannot find attribute `${concatStringsSep "." path}'");
  setAttrByPath = path: v: if path == [ ] then v else { ${head path} = setAttrByPath (tail path) v; };
  isDerivation = v: isAttrs v && v.type or null == "derivation";
  functionArgs = f: f.__functionArgs or (builtins.functionArgs f);
  getExe = p: "${p}/bin/${p.meta.mainProgram or p.name}";
  getExe' = p: name: "${p}/bin/${name}";

  # Sorts texts by their dependencies: { name -> { text, deps } }.
  noDepEntry = stringAfter [ ];
  stringAfter = deps: text: { inherit text deps; };
  textClosureList =
    all:
    let
      visit =
        seen: name:
        if builtins.elem name seen then
          seen
        else
          builtins.foldl' visit seen all.${name}.deps ++ [ name ];
    in
    builtins.foldl' visit [ ];

  generators.toJSON = _: builtins.toJSON;
  strings = {
    inherit
      concatMapStrings
      concatMapStringsSep
      concatStrings
      hasPrefix
      hasSuffix
      optionalString
      removePrefix
      removeSuffix
      splitString
      ;
    inherit concatStringsSep;
  };
}
