# As much of nixpkgs' lib as the container module, base system and nginx.nix
# use, with a module system that orders definitions by priority and pushes
# properties down as nixpkgs' does.
let
  inherit (builtins)
    all
    attrNames
    concatLists
    concatMap
    concatStringsSep
    filter
    foldl'
    hasAttr
    head
    isAttrs
    isFunction
    isList
    isPath
    isString
    listToAttrs
    map
    mapAttrs
    sort
    tail
    toString
    ;
  property = kind: v: isAttrs v && v ? _type && v._type == kind;
in
rec {
  trivial.release = "24.05";
  fakeHash = "";
  id = x: x;
  optional = cond: x: if cond then [ x ] else [ ];
  optionals = cond: xs: if cond then xs else [ ];
  optionalString = cond: s: if cond then s else "";
  optionalAttrs = cond: s: if cond then s else { };
  inherit filter concatStringsSep concatMap head;
  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: f: listToAttrs (map (n: nameValuePair n (f n)) names);
  mapAttrsToList = f: s: map (n: f n s.${n}) (attrNames s);
  mapAttrs' = f: s: listToAttrs (mapAttrsToList f s);
  filterAttrs = p: s: listToAttrs (filter (e: p e.name e.value) (mapAttrsToList nameValuePair s));
  hasSuffix =
    suffix: s:
    let
      n = builtins.stringLength s;
      m = builtins.stringLength suffix;
    in
    n >= m && builtins.substring (n - m) m s == suffix;
  attrByPath =
    path: default: s:
    if path == [ ] then
      s
    else if isAttrs s && s ? ${head path} then
      attrByPath (tail path) default s.${head path}
    else
      default;
  setAttrByPath =
    path: v: if path == [ ] then v else { ${head path} = setAttrByPath (tail path) v; };
  literalExpression = text: text;

  # Properties.
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkBefore = id;
  mkAfter = id;
  mkOption = a: { _type = "option"; } // a;
  mkEnableOption =
    what:
    mkOption {
      type = types.bool;
      default = false;
    };

  # A definition of an attribute set becomes several whose attributes carry the
  # properties: their names are known without the conditions.
  pushDown =
    v:
    if property "merge" v then
      concatMap pushDown v.contents
    else if property "if" v then
      map (mapAttrs (_: mkIf v.condition)) (pushDown v.content)
    else if property "override" v then
      map (mapAttrs (_: mkOverride v.priority)) (pushDown v.content)
    else
      [ v ];

  # The values of an option that count: those of the lowest priority number.
  # What an override holds is only looked at when it wins.
  discharge =
    v:
    if property "merge" v then
      concatMap discharge v.contents
    else if property "if" v then
      (if v.condition then discharge v.content else [ ])
    else
      [ v ];
  strongest =
    defs:
    let
      ds = concatMap discharge defs;
      priority = d: if property "override" d then d.priority else 100;
      least = foldl' (a: d: if priority d < a then priority d else a) 9999 ds;
    in
    map (d: if property "override" d then d.content else d) (filter (d: priority d == least) ds);

  # A type merges the definitions of loc, with their properties.
  types =
    let
      scalar = name: check: {
        inherit name;
        merge =
          loc: defs:
          let
            vs = strongest defs;
          in
          if vs == [ ] then
            throw "The option `${concatStringsSep "." loc}' is used but not defined."
          else if !(all check vs) then
            throw "A definition for option `${concatStringsSep "." loc}' is not of type `${name}'."
          else if tail vs != [ ] && !(all (v: v == head vs) vs) then
            throw "The option `${concatStringsSep "." loc}' has conflicting definition values."
          else
            head vs;
      };
    in
    rec {
      raw = scalar "anything" (_: true);
      bool = scalar "boolean" builtins.isBool;
      int = scalar "signed integer" builtins.isInt;
      str = scalar "string" isString;
      path = scalar "path" (v: isPath v || isString v || isAttrs v);
      package = scalar "package" (v: isAttrs v || isString v);
      enum = values: scalar "one of" (v: builtins.elem v values);
      unspecified = anything;
      nullOr = t: {
        name = "null or ${t.name}";
        merge =
          loc: defs:
          let
            vs = strongest defs;
          in
          if vs != [ ] && all (v: v == null) vs then null else t.merge loc defs;
      };
      lines = {
        name = "lines";
        merge = loc: defs: concatStringsSep "\n" (strongest defs);
      };
      listOf = t: {
        name = "list of ${t.name}";
        merge = loc: defs: concatLists (strongest defs);
      };
      attrsOf = t: {
        name = "attribute set of ${t.name}";
        merge =
          loc: defs:
          let
            sets = concatMap pushDown (overridden defs);
            names = foldl' (a: s: a // mapAttrs (_: _: null) s) { } sets;
            values = mapAttrs (n: _: concatMap (s: optional (s ? ${n}) s.${n}) sets) names;
          in
          mapAttrs (n: t.merge (loc ++ [ n ])) (filterAttrs (_: ds: concatMap discharge ds != [ ]) values);
      };
      # An override of the whole set replaces weaker ones.
      overridden =
        defs:
        let
          forced = filter (d: property "override" d && d.priority < 100) defs;
        in
        if forced != [ ] then forced else defs;
      anything = {
        name = "anything";
        merge =
          loc: defs:
          let
            vs = strongest defs;
          in
          if vs != [ ] && all isList vs then
            concatLists vs
          else if vs != [ ] && all (v: isAttrs v && !(v ? type && v.type == "derivation")) vs then
            (attrsOf anything).merge loc defs
          else
            raw.merge loc defs;
      };
      submodule = module: {
        name = "submodule";
        merge =
          loc: defs:
          (evalModules {
            prefix = loc;
            modules = [ module ] ++ map (d: { config = d; }) defs;
            specialArgs.name = builtins.elemAt loc (builtins.length loc - 1);
          }).config;
      };
      submoduleOf = options: submodule { inherit options; };
    };

  # What a module is, whatever form it was written in.
  normalise =
    args: m:
    let
      imported = if isPath m || isString m then import m else m;
      called = if isFunction imported then imported args else imported;
      structured = called ? options || called ? config || called ? imports;
    in
    if structured then
      {
        imports = called.imports or [ ];
        options = called.options or { };
        config = called.config or (removeAttrs called [ "imports" "options" ]);
      }
    else
      {
        imports = [ ];
        options = { };
        config = called;
      };

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      args = {
        inherit lib options;
        inherit (result) config;
        pkgs = result.config._module.args.pkgs;
      }
      // specialArgs;
      lib = import ./default.nix;
      collect =
        ms:
        concatMap (
          m:
          let
            n = normalise args m;
          in
          [ n ] ++ collect n.imports
        ) ms;
      all = collect ([ internal ] ++ modules);
      internal.options._module.args = mkOption {
        type = types.attrsOf types.raw;
        default = { };
      };
      isOption = property "option";
      join =
        a: b:
        if isOption a then
          throw "an option is declared twice"
        else
          a // mapAttrs (n: v: if a ? ${n} then join a.${n} v else v) b;
      options = foldl' join { } (map (m: m.options) all);
      eval =
        loc: opts: defs:
        let
          sets = concatMap pushDown defs;
          unknown = filter (n: !(opts ? ${n})) (concatMap attrNames sets);
        in
        if unknown != [ ] && !(opts._freeform or false) then
          throw "The option `${concatStringsSep "." (loc ++ [ (head unknown) ])}' does not exist."
        else
          mapAttrs (
            n: o:
            let
              here = loc ++ [ n ];
              ds = concatMap (s: optional (s ? ${n}) s.${n}) sets;
              found = ds ++ optional (o ? default) (mkOptionDefault o.default);
            in
            if isOption o then
              (o.apply or id) (o.type.merge here found)
            else
              eval here o ds
          ) (removeAttrs opts [ "_freeform" ]);
      result = {
        inherit options;
        config = eval prefix options (map (m: m.config) all);
        extendModules = more: evalModules {
          modules = modules ++ more.modules;
          inherit specialArgs prefix;
        };
        inherit (result.config._module.args) pkgs;
      };
    in
    result;
}
