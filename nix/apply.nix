# This is what nixoci-init apply builds inside the container: the mounted
# configuration, on top of the image's inputs.
#
#   base           base.json of the running system
#   configuration  path of configuration.nix
#   configurations, name
#                  or a flake's nixosConfigurations, and the name of one of them
{
  base,
  configuration ? null,
  configurations ? null,
  name ? "default",
}:

let
  # /etc is a link into the store. fromJSON does not accept a string that refers
  # to the store.
  image = builtins.fromJSON (builtins.unsafeDiscardStringContext (builtins.readFile base));
  # The paths come from a file. Without storePath the result would not refer to
  # them, and the garbage collector would delete them.
  isPath =
    value:
    builtins.isString value
    && builtins.substring 0 (builtins.stringLength builtins.storeDir) value == builtins.storeDir;
  known = builtins.mapAttrs (
    _: value: if isPath value then builtins.storePath value else value
  ) image;
  # made is true if this configuration gives the same package as the image has.
  # Then the package itself is used, so the system is the same derivation as in
  # the image, and nothing that exists is built again. A plain store path would
  # be a different input, and would change every output that depends on it.
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
      # A configuration may set another package.
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
            # Otherwise the system would have another version of NixOS than the
            # image.
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
