# Types define which values are allowed, and how definitions merge. Definitions
# are a list of { file, value }.
{ lib }:
let
  inherit (builtins)
    all
    any
    attrNames
    concatLists
    concatMap
    concatStringsSep
    filter
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    listToAttrs
    map
    mapAttrs
    tail
    zipAttrsWith
    ;
  inherit (lib.modules) evalModules mergeDefinitions pushDownProperties showDefs showOption;

  mkType =
    {
      name,
      description ? name,
      check ? (_: true),
      merge ? mergeEqual,
      emptyValue ? { },
    }:
    {
      _type = "option-type";
      inherit
        name
        description
        check
        merge
        emptyValue
        ;
    };

  values = map (d: d.value);
  mergeEqual =
    loc: defs:
    if tail defs == [ ] || all (v: v == (head defs).value) (values defs) then
      (head defs).value
    else
      throw "The option `${showOption loc}' has conflicting definition values:${showDefs defs}";
  mergeOne =
    loc: defs:
    if tail defs == [ ] then
      (head defs).value
    else
      throw "The option `${showOption loc}' is defined multiple times while it's expected to be unique.${showDefs defs}";
  # Returns nothing for an element if all of its definitions are disabled.
  optionalValue = loc: type: defs: (
    let
      m = mergeDefinitions loc type defs;
    in
    if m.isDefined then { inherit (m) mergedValue; } else { }
  );
  byName = f: defs: zipAttrsWith f (concatMap (
    d: map (mapAttrs (_: value: { inherit (d) file; inherit value; })) (pushDownProperties d.value)
  ) defs);
  stringLike = v: isString v || isPath v || (isAttrs v && (v ? outPath || v ? __toString));

  scalar = name: check: mkType { inherit name check; };
in
rec {
  raw = mkType {
    name = "raw value";
    merge = mergeOne;
  };
  unspecified = mkType {
    name = "unspecified value";
    merge =
      loc: defs:
      if all isList (values defs) then
        concatLists (values defs)
      else if all (v: isAttrs v && !(lib.isDerivation v)) (values defs) then
        builtins.foldl' lib.recursiveUpdate { } (values defs)
      else
        mergeEqual loc defs;
  };
  bool = scalar "boolean" isBool;
  int = scalar "signed integer" isInt;
  ints.unsigned = scalar "unsigned integer, meaning >=0" (v: isInt v && v >= 0);
  ints.positive = scalar "positive integer, meaning >0" (v: isInt v && v > 0);
  port = scalar "16 bit unsigned integer" (v: isInt v && v >= 0 && v < 65536);
  str = scalar "string" isString;
  nonEmptyStr = scalar "non-empty string" (v: isString v && v != "");
  singleLineStr = scalar "string without newlines" isString;
  strMatching =
    pattern:
    scalar "string matching the pattern ${pattern}" (v: isString v && builtins.match pattern v != null);
  path = scalar "path" stringLike;
  package = scalar "package" stringLike;
  functionTo = _: mkType {
    name = "function";
    check = isFunction;
    merge = mergeOne;
  };
  enum = options: scalar "one of ${concatStringsSep ", " (map builtins.toJSON options)}" (v: builtins.elem v options);
  separatedString =
    sep:
    mkType {
      name = "strings concatenated with ${builtins.toJSON sep}";
      check = isString;
      merge = _: defs: concatStringsSep sep (values defs);
    };
  lines = separatedString "\n";
  commas = separatedString ",";
  envVar = separatedString ":";
  attrs = mkType {
    name = "attribute set";
    check = isAttrs;
    merge = _: defs: builtins.foldl' (a: b: a // b) { } (values defs);
    emptyValue.value = { };
  };

  nullOr =
    t:
    mkType {
      name = "null or ${t.name}";
      check = v: v == null || t.check v;
      merge =
        loc: defs:
        if all (v: v == null) (values defs) then
          null
        else if any (v: v == null) (values defs) then
          throw "The option `${showOption loc}' is defined both null and not null."
        else
          t.merge loc defs;
      emptyValue.value = null;
    };
  either =
    a: b:
    mkType {
      name = "${a.name} or ${b.name}";
      check = v: a.check v || b.check v;
      merge =
        loc: defs:
        if all a.check (values defs) then
          a.merge loc defs
        else if all b.check (values defs) then
          b.merge loc defs
        else
          mergeEqual loc defs;
    };
  oneOf = ts: builtins.foldl' either (head ts) (tail ts);
  coercedTo =
    from: f: to:
    mkType {
      inherit (to) name;
      check = v: from.check v || to.check v;
      merge = loc: defs: to.merge loc (map (d: d // { value = if from.check d.value then f d.value else d.value; }) defs);
      inherit (to) emptyValue;
    };
  addCheck = t: check: t // { check = v: t.check v && check v; };
  uniq = t: t // { merge = mergeOne; };

  listOf =
    t:
    mkType {
      name = "list of ${t.name}";
      check = isList;
      merge =
        loc: defs:
        map (d: d.mergedValue) (
          filter (d: d ? mergedValue) (
            concatMap (
              d:
              map (value: optionalValue (loc ++ [ "*" ]) t [ { inherit (d) file; inherit value; } ]) d.value
            ) defs
          )
        );
      emptyValue.value = [ ];
    };
  attrsOf =
    t:
    mkType {
      name = "attribute set of ${t.name}";
      check = isAttrs;
      merge =
        loc: defs:
        mapAttrs (_: v: v.mergedValue) (
          lib.filterAttrs (_: v: v ? mergedValue) (byName (n: optionalValue (loc ++ [ n ]) t) defs)
        );
      emptyValue.value = { };
    };
  # The names of the attributes do not depend on the conditions of the
  # definitions.
  lazyAttrsOf =
    t:
    mkType {
      name = "lazy attribute set of ${t.name}";
      check = isAttrs;
      merge = loc: byName (n: defs: (mergeDefinitions (loc ++ [ n ]) t defs).mergedValue);
      emptyValue.value = { };
    };
  anything = mkType {
    name = "anything";
    merge =
      loc: defs:
      if all (v: isAttrs v && !(lib.isDerivation v)) (values defs) then
        (lazyAttrsOf anything).merge loc defs
      else if all isList (values defs) && tail defs != [ ] then
        concatLists (values defs)
      else
        mergeEqual loc defs;
  };
  submodule =
    module:
    let
      modules = lib.toList module;
    in
    mkType {
      name = "submodule";
      check = v: isAttrs v || isFunction v || isPath v;
      merge =
        loc: defs:
        (evalModules {
          prefix = loc;
          modules =
            modules
            ++ map (d: if isAttrs d.value then { _file = d.file; config = d.value; } else d.value) defs
            ++ [ { _module.args.name = lib.last loc; } ];
        }).config;
      emptyValue.value = { };
    };
}
