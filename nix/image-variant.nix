# Turns the configuration into a container. It defines system.build.image, a directory
# with the image's specification and the programs that push, load and compare the image.
# The directory contains no layers, because nixoci makes the layers while it pushes.
{
  config,
  lib,
  pkgs,
  modulesPath,
  ...
}:

let
  cfg = config.nixoci.image;
  image = import ./image.nix { inherit pkgs; } (
    {
      name = if config.networking.hostName == "" then "nixos" else config.networking.hostName;
      contents = [ config.system.build.toplevel ];
    }
    // cfg
  );
  programs = [
    "push"
    "load"
    "layout"
    "plan"
    "verify"
  ];
in
{
  imports = [
    ./container.nix
    (modulesPath + "/image/file-options.nix")
  ];

  options.nixoci.image = lib.mkOption {
    type = lib.types.lazyAttrsOf lib.types.raw;
    default = { };
    example = {
      name = "ghcr.io/org/web";
      tag = "1.2";
    };
    description = ''
      Arguments of nixoci's image function for the image variant nixoci. The
      default of name is the host name.
    '';
  };

  config = {
    image.extension = "json";
    system.build.image =
      pkgs.linkFarm "image-${baseNameOf image.imageName}" (
        [
          {
            name = config.image.fileName;
            path = image;
          }
        ]
        ++ map (name: {
          name = "bin/${name}";
          path = lib.getExe image.${name};
        }) programs
      )
      // lib.getAttrs programs image
      // {
        inherit (image) specification imageName imageTag;
      };
  };
}
