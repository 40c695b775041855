# Definitions of options that not every supported nixpkgs has.
#
# Whether an option exists is asked by its name alone. To look at the option
# itself would evaluate its declaration, which in some of NixOS's modules needs
# `config` (tasks/network-interfaces.nix: `with utils`), and `config` is what is
# being defined here: infinite recursion.
#
# A renamed option still exists, under both names: name the newest one first.
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
