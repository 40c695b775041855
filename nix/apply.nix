# What nixoci-init apply builds inside the container: the configuration that
# was mounted, on top of what the image was made from.
#
#   base           base.json of the running system
#   configuration  path of configuration.nix
#   configurations, name
#                  or a flake's nixosConfigurations, and which of them
{
  base,
  configuration ? null,
  configurations ? null,
  name ? "default",
}:

let
  # /etc links into the store, and fromJSON takes no string that refers to it.
  image = builtins.fromJSON (builtins.unsafeDiscardStringContext (builtins.readFile base));
  # The paths come out of a file: without this the result would not refer to
  # them, and they would be garbage.
  isPath =
    value:
    builtins.isString value
    && builtins.substring 0 (builtins.stringLength builtins.storeDir) value == builtins.storeDir;
  known = builtins.mapAttrs (
    _: value: if isPath value then builtins.storePath value else value
  ) image;
  settings =
    { lib, ... }:
    {
      nixoci.base = known;
      nixoci.minimal = lib.mkDefault (image.minimal or false);
      nixoci.package = {
        type = "derivation";
        name = "nixoci-init";
        outPath = known.init;
        outputName = "out";
      };
    };
in

(import ./eval.nix (
  if configurations == null then
    {
      inherit (image) system;
      inherit (known) nixpkgs;
      configuration = /. + configuration;
      modules = [
        settings
        (
          { lib, ... }:
          {
            nixoci.nixpkgs = known.nixpkgs;
            # Else it would be another version of NixOS than the image is.
            system.nixos = lib.mapAttrs (_: lib.mkDefault) (image.nixos or { });
          }
        )
      ];
    }
  else
    {
      inherit (image) system;
      inherit configurations name;
      modules = [ settings ];
    }
)).config.system.build.toplevel
