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
  image = builtins.fromJSON (builtins.readFile base);
  # The paths come out of a file: without this the result would not refer to
  # them, and they would be garbage.
  known = builtins.mapAttrs (
    key: value: if key == "version" || key == "system" then value else builtins.storePath value
  ) image;
  settings = {
    nixoci.base = known;
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
        { nixoci.nixpkgs = known.nixpkgs; }
      ];
    }
  else
    {
      inherit (image) system;
      inherit configurations name;
      modules = [ settings ];
    }
)).config.system.build.toplevel
