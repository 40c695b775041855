# The module system. It evaluates in the same order as nixpkgs. `options`
# consists of the declarations of all modules. The type of an option is
# evaluated together with the option. Arguments of a module other than lib,
# config and options come from config._module.args. To evaluate that, Nix needs
# the names of everything that any module defines. So an infinite recursion in
# nixpkgs is also one here.
{ lib }:
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    filter
    foldl'
    head
    isAttrs
    isFunction
    isPath
    isString
    length
    mapAttrs
    seq
    sort
    zipAttrsWith
    ;
  inherit (lib)
    attrByPath
    functionArgs
    getAttrFromPath
    id
    last
    mapAttrsRecursiveCond
    mapAttrsToList
    optional
    optionalAttrs
    setAttrByPath
    types
    ;
  unknownFile = "<unknown-file>";
in
rec {
  # Functions for options and properties.
  mkOption = attrs: { _type = "option"; } // attrs;
  isOption = v: v._type or null == "option";
  mkEnableOption =
    what:
    mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${what}.";
    };
  mkPackageOption =
    pkgs: name: _:
    mkOption {
      type = types.package;
      default = pkgs.${name};
    };
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };
  showOption = concatStringsSep ".";

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
  defaultOverridePriority = 100;
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;

  # Splits a definition of an attribute set with a property into several, whose
  # attributes have the property. So the names are known without evaluating the
  # conditions.
  pushDownProperties =
    v:
    if v._type or "" == "merge" then
      concatMap pushDownProperties v.contents
    else if v._type or "" == "if" then
      map (mapAttrs (_: mkIf v.condition)) (pushDownProperties v.content)
    else if v._type or "" == "override" then
      map (mapAttrs (_: mkOverride v.priority)) (pushDownProperties v.content)
    else
      [ v ];

  dischargeProperties =
    v:
    if v._type or "" == "merge" then
      concatMap dischargeProperties v.contents
    else if v._type or "" == "if" then
      (if v.condition then dischargeProperties v.content else [ ])
    else
      [ v ];

  # Selects the definitions that count, in their order. Definitions are a list
  # of { file, value }.
  mergeDefinitions =
    loc: type: defs:
    let
      discharged = concatMap (
        d: map (value: d // { inherit value; }) (dischargeProperties d.value)
      ) defs;
      priority =
        d: if d.value._type or "" == "override" then d.value.priority else defaultOverridePriority;
      highestPrio = foldl' (a: d: if priority d < a then priority d else a) 9999 discharged;
      strongest = map (
        d: if d.value._type or "" == "override" then d // { value = d.value.content; } else d
      ) (filter (d: priority d == highestPrio) discharged);
      order = d: if d.value._type or "" == "order" then d.value.priority else 1000;
      sorted =
        if any (d: d.value._type or "" == "order") strongest then
          map (d: if d.value._type or "" == "order" then d // { value = d.value.content; } else d) (
            sort (a: b: order a < order b) strongest
          )
        else
          strongest;
      wrong = filter (d: !(type.check d.value)) sorted;
    in
    rec {
      inherit highestPrio;
      defsFinal = sorted;
      isDefined = sorted != [ ];
      mergedValue =
        if !isDefined then
          type.emptyValue.value
            or (throw "The option `${showOption loc}' was accessed but has no value defined. Try setting the option.")
        else if wrong != [ ] then
          throw "A definition for option `${showOption loc}' is not of type `${type.description}'. Definition values:${showDefs wrong}"
        else
          type.merge loc sorted;
    };

  showDefs = defs: concatStringsSep "" (map (d: "\n- In `${d.file}'") defs);

  # Loads a module in any of its forms, with its imports.
  loadModule =
    args: fallback: m:
    let
      file = if isPath m || isString m then toString m else fallback;
      imported = if isPath m || isString m then import m else m;
      called =
        if isFunction imported then
          imported (args // mapAttrs (name: _: args.${name} or args.config._module.args.${name}) (functionArgs imported))
        else
          imported;
    in
    if called ? options || called ? config || called ? freeformType then
      {
        _file = called._file or file;
        imports = called.imports or [ ];
        options = called.options or { };
        config =
          if called ? freeformType then
            mkMerge [
              (called.config or { })
              { _module.freeformType = called.freeformType; }
            ]
          else
            called.config or { };
      }
    else
      {
        _file = called._file or file;
        imports = called.imports or [ ];
        options = { };
        config = removeAttrs called [
          "_file"
          "imports"
        ];
      };

  collectModules =
    args: fallback: ms:
    concatMap (
      m:
      let
        loaded = loadModule args fallback m;
      in
      [ loaded ] ++ collectModules args loaded._file loaded.imports
    ) ms;

  # Merges the options in decls below prefix with the definitions in defs. Also
  # returns the definitions without an option.
  mergeModules =
    prefix: decls: defs:
    let
      declsByName = zipAttrsWith (_: id) (
        map (d: mapAttrs (_: options: d // { inherit options; }) d.options) decls
      );
      byName =
        f: zipAttrsWith (_: concatLists) (map (d: mapAttrs (_: v: f d v) d.value) defs);
      pushedDown = byName (d: v: map (value: d // { inherit value; }) (pushDownProperties v));
      raw = byName (d: value: [ (d // { inherit value; }) ]);
      results = mapAttrs (
        name: ds:
        let
          loc = prefix ++ [ name ];
          isLeaf = d: isOption d.options;
        in
        if all isLeaf ds then
          {
            matched = evalOption loc (mergeDeclarations loc ds) (raw.${name} or [ ]);
            unmatched = [ ];
          }
        else if any isLeaf ds then
          throw "The option `${showOption loc}' would be a parent of other options."
        else
          mergeModules loc ds (pushedDown.${name} or [ ])
      ) declsByName;
      matched = mapAttrs (_: r: r.matched) results;
      unmatched = mapAttrs (_: r: r.unmatched) results // removeAttrs raw (attrNames matched);
    in
    {
      inherit matched;
      unmatched =
        if defs == [ ] then
          [ ]
        else
          concatLists (
            mapAttrsToList (
              name: map (d: d // { prefix = [ name ] ++ (d.prefix or [ ]); })
            ) unmatched
          );
    };

  mergeDeclarations =
    loc: ds:
    let
      merge =
        res: d:
        if any (k: res ? ${k} && d.options ? ${k}) [ "default" "apply" "description" "example" ] then
          throw "The option `${showOption loc}' in `${d._file}' is already declared in ${concatStringsSep ", " res.declarations}."
        else
          d.options
          // res
          // {
            declarations = res.declarations ++ [ d._file ];
          };
      merged = foldl' merge { declarations = [ ]; inherit loc; } ds;
      type = merged.type or types.unspecified;
    in
    # nixpkgs evaluates the type at once, too, to look for sub-options.
    seq (type.name or null) (merged // { inherit type; });

  evalOption =
    loc: opt: defs:
    let
      res = mergeDefinitions loc opt.type (
        optional (opt ? default) {
          file = head opt.declarations;
          value = mkOptionDefault opt.default;
        }
        ++ defs
      );
    in
    opt
    // {
      inherit (res) highestPrio isDefined;
      value =
        if opt.readOnly or false && length defs > 1 then
          throw "The option `${showOption loc}' is read-only, but it's set multiple times."
        else
          (opt.apply or id) res.mergedValue;
      definitions = map (d: d.value) res.defsFinal;
      definitionsWithLocations = res.defsFinal;
      files = map (d: d.file) res.defsFinal;
      __toString = _: showOption loc;
    };

  evalModules =
    evalArgs@{
      modules,
      prefix ? [ ],
      specialArgs ? { },
    }:
    let
      internal = {
        _file = "lib/modules.nix";
        options._module = {
          args = mkOption {
            type = types.lazyAttrsOf types.raw;
          };
          freeformType = mkOption {
            type = types.nullOr types.raw;
            default = null;
          };
        };
        config._module.args = { };
      };
      collected = collectModules ({ inherit lib options config specialArgs; } // specialArgs) unknownFile (
        modules ++ [ internal ]
      );
      merged = mergeModules prefix collected (
        concatMap (
          m:
          map (value: {
            file = m._file;
            inherit value;
          }) (pushDownProperties m.config)
        ) collected
      );
      options = merged.matched;
      declared = mapAttrsRecursiveCond (v: !isOption v) (_: v: v.value) options;
      free = declared._module.freeformType;
      config =
        if free == null then
          declared
        else
          lib.recursiveUpdate (free.merge prefix (
            map (d: {
              inherit (d) file;
              value = setAttrByPath d.prefix d.value;
            }) merged.unmatched
          )) declared;
      checked =
        if free == null && merged.unmatched != [ ] then
          let
            d = head merged.unmatched;
          in
          throw "The option `${showOption (prefix ++ d.prefix)}' does not exist. Definition values:${showDefs [ d ]}"
        else
          id;
    in
    {
      _type = "configuration";
      options = checked options;
      config = checked (removeAttrs config [ "_module" ]);
      _module = checked config._module;
      extendModules =
        more:
        evalModules (
          evalArgs
          // {
            modules = modules ++ more.modules or [ ];
            specialArgs = specialArgs // more.specialArgs or { };
          }
        );
    };

  # Functions for removed and renamed options. These options stay declared, but
  # they are hidden.
  mkRemovedOptionModule =
    path: instructions:
    { options, ... }:
    {
      options = setAttrByPath path (mkOption {
        visible = false;
        apply = _: throw "The option `${showOption path}' can no longer be used since it's been removed. ${instructions}";
      });
      config.assertions =
        let
          option = getAttrFromPath path options;
        in
        [
          {
            assertion = !option.isDefined;
            message = ''
              The option definition `${showOption path}' in ${concatStringsSep ", " option.files} no longer has any effect; please remove it.
              ${instructions}
            '';
          }
        ];
    };

  mkRenamedOptionModule =
    from: to:
    doRename {
      inherit from to;
      visible = false;
      warn = true;
    };

  mkAliasOptionModule =
    from: to:
    doRename {
      inherit from to;
      visible = true;
      warn = false;
    };

  doRename =
    {
      from,
      to,
      visible,
      warn,
    }:
    { config, options, ... }:
    let
      fromOption = getAttrFromPath from options;
      toOption = attrByPath to { } options;
      toType = toOption.type or null;
      use =
        if warn then
          lib.warn "Obsolete option `${showOption from}' is used. It was renamed to `${showOption to}'."
        else
          id;
    in
    {
      options = setAttrByPath from (
        mkOption {
          inherit visible;
          description = "Alias of `${showOption to}'.";
          apply =
            _: use (attrByPath to (abort "Renaming error: option `${showOption to}' does not exist.") config);
        }
        // optionalAttrs (toType != null) { type = toType; }
      );
      config = mkMerge [
        (optionalAttrs (options ? warnings) {
          warnings = optional (
            warn && fromOption.isDefined
          ) "The option `${showOption from}' defined in ${concatStringsSep ", " fromOption.files} has been renamed to `${showOption to}'.";
        })
        (mkIf fromOption.isDefined (
          setAttrByPath to (mkMerge (map (mkOverride fromOption.highestPrio) fromOption.definitions))
        ))
      ];
    };
}
