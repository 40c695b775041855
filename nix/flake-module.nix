# A module for flake-parts: images of packages.
#
#   imports = [ inputs.nixoci.flakeModules.default ];
#   perSystem = { pkgs, ... }: {
#     nixoci.images.web = { name = "ghcr.io/org/web"; contents = [ pkgs.hello ]; };
#   };
#
# After this, nix run .#web.push, .#web.load and so on work, and nix flake check builds
# the image. The arguments are those of image.nix.
{ lib, flake-parts-lib, ... }:

{
  options.perSystem = flake-parts-lib.mkPerSystemOption (
    { config, pkgs, ... }:
    let
      cfg = config.nixoci;
      image = import ./image.nix {
        inherit pkgs;
        nixoci = cfg.package;
      };
      # Images are for Linux.
      images = lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux (
        lib.mapAttrs (name: arguments: image ({ inherit name; } // arguments)) cfg.images
      );
      attributes = [
        "push"
        "load"
        "run"
        "layout"
        "plan"
        "verify"
      ];
    in
    {
      options.nixoci = {
        package = lib.mkOption {
          type = lib.types.package;
          default = pkgs.callPackage ./nixoci.nix { };
          defaultText = lib.literalExpression "the nixoci of the flake, compiled with the pkgs of perSystem";
          description = "The package with bin/nixoci, which the programs of an image start.";
        };
        images = lib.mkOption {
          type = lib.types.lazyAttrsOf (lib.types.lazyAttrsOf lib.types.raw);
          default = { };
          example = lib.literalExpression ''{ hello = { name = "ghcr.io/org/hello"; contents = [ pkgs.hello ]; }; }'';
          description = ''
            Arguments of nixoci's image function for each image, by the name of
            the image. The flake gets a package of that name, an app for each
            program of the image (hello-push, hello-load), and a check, so that
            nix flake check builds the image.
          '';
        };
      };
      config = {
        packages = images;
        apps = lib.concatMapAttrs (
          name: built:
          lib.listToAttrs (
            map (
              a:
              lib.nameValuePair "${name}-${a}" {
                type = "app";
                program = lib.getExe built.${a};
              }
            ) attributes
          )
        ) images;
        checks = lib.mapAttrs' (name: lib.nameValuePair "image-${name}") images;
      };
    }
  );
}
