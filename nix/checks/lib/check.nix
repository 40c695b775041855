# Evaluates a check of nix/checks/ with a nixpkgs, for check.sh. The result
# lists the faults as text.
#
# A check is an attribute set:
#
#  configuration  a NixOS module
#  nixpkgs        the oldest release that has the options of the configuration
#  systems        the systems that the check is for; default: all
#  warnings       the expected warnings of the module: a part of each
#  expected       expected values of options, in the shape of config; if a value
#                 is a function, it must return true for the option's value
#  base           whether the configuration is added to the base system, like
#                 one in /config; default: true
{
  nixpkgs,
  check,
  systems,
}:

let
  lib = import (nixpkgs + "/lib");
  given = import check;
  tooOld = lib.versionOlder lib.trivial.release (given.nixpkgs or "");

  # Our warnings begin with the word nixoci. A warning of NixOS counts too if it names one
  # of our files, for instance because this file uses a renamed option.
  ours = warning: lib.hasPrefix "nixoci: " warning || lib.hasInfix (toString ../../.) warning;

  # Lists the differences between config and the expected values, as text.
  differences =
    path: expected: value:
    if lib.isFunction expected then
      lib.optional (!expected value) "${path} is ${show value}, which the check does not like"
    else if lib.isAttrs expected then
      lib.concatLists (
        lib.mapAttrsToList (
          name: e:
          if value ? ${name} then
            differences "${path}${lib.optionalString (path != "") "."}${name}" e value.${name}
          else
            [ "${path}.${name} does not exist" ]
        ) expected
      )
    else
      lib.optional (expected != value) "${path} is ${show value}, expected ${show expected}";
  show = lib.generators.toPretty { multiline = false; };

  one =
    system:
    let
      nixos = import ../../eval.nix {
        inherit system nixpkgs;
        inherit (given) configuration;
        modules = lib.optional (given.base or true) ../../base.nix ++ [
          # Hashing a whole nixpkgs takes as long as a check, so use a fixed
          # path.
          { nixoci.nixpkgs = "${builtins.storeDir}/00000000000000000000000000000000-source"; }
        ];
      };
      inherit (nixos) config;
      warned = lib.filter ours config.warnings;
      wanted = given.warnings or [ ];
    in
    {
      inherit (config.system.build.toplevel) drvPath;
      warnings = lib.subtractLists warned config.warnings;
      wrong =
        import ./invariants.nix {
          inherit lib config system;
        }
        ++ differences "" (given.expected or { }) config
        ++ map (w: "a warning of the module: ${w}") (
          lib.filter (w: !lib.any (part: lib.hasInfix part w) wanted) warned
        )
        ++ map (part: "no warning of the module says ${part}") (
          lib.filter (part: !lib.any (lib.hasInfix part) warned) wanted
        );
    };
in

if tooOld then { } else lib.genAttrs (lib.intersectLists systems (given.systems or systems)) one
