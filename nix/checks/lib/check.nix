# Evaluates a check of nix/checks/ with a nixpkgs, for check.sh. The answer has what
# is wrong with it, in words.
#
# A check is an attribute set:
#
#   configuration  a NixOS module
#   nixpkgs        the oldest release that has what the configuration uses
#   systems        those that it is for, if not for all
#   warnings       what the module has to warn of: a part of each warning
#   expected       what has to become of it: values of options, in the shape of
#                  config; a function says whether it likes the value
#   base           whether it is built on the base system, as what is in /config
#                  is: true unless said otherwise
{
  nixpkgs,
  check,
  systems,
}:

let
  lib = import (nixpkgs + "/lib");
  given = import check;
  tooOld = lib.versionOlder lib.trivial.release (given.nixpkgs or "");

  # Ours are those that say so, and those of NixOS about what our files define,
  # for instance an option that was renamed.
  ours = warning: lib.hasPrefix "nixoci: " warning || lib.hasInfix (toString ../../.) warning;

  # Where config is not as expected, in words.
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
          # To hash a whole nixpkgs for each check takes as long as the check.
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
