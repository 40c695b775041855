# Defines options that some supported nixpkgs versions do not have.
#
# Only the name of an option is checked. Reading the option itself would
# evaluate its declaration. In some of NixOS's modules the declaration needs
# `config` (tasks/network-interfaces.nix: `with utils`). But `config` is being
# defined here, so this would be an infinite recursion.
#
# A renamed option exists under both names. So put the newest name first.
{ lib, options }:

rec {
  exists = path: lib.hasAttrByPath path options;

  # Defines the option if it exists.
  set = path: value: lib.optionalAttrs (exists path) (lib.setAttrByPath path value);

  # Defines the first of the options that exists.
  setFirst =
    paths: value:
    let
      found = lib.filter exists paths;
    in
    lib.optionalAttrs (found != [ ]) (lib.setAttrByPath (lib.head found) value);
}
