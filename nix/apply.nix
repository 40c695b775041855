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
  # What is what the image has, made from this configuration: then the system is
  # the same derivation as in the image, and whatever is there need not be built.
  # A path alone would be another input, and every output that depends on it too.
  made =
    package: path:
    let
      same = builtins.tryEval (builtins.unsafeDiscardStringContext "${package}" == path);
    in
    same.success && same.value;
  settings =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    let
      same = package: path: if made package path then "${package}" else builtins.storePath path;
      init = pkgs.callPackage ./nixoci-init.nix { };
    in
    {
      nixoci.base = known // {
        init = same config.nixoci.package image.init;
        nix = same config.nix.package image.nix;
      };
      nixoci.minimal = lib.mkDefault (image.minimal or false);
      # A configuration may have a package of its own.
      nixoci.package = lib.mkDefault (
        if made init image.init then
          init
        else
          {
            type = "derivation";
            name = "nixoci-init";
            outPath = known.init;
            outputName = "out";
          }
      );
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
