{
  description = "NixOS systems as container images that just boot";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      # The module pins the nixpkgs with which it is used. The systems that this flake
      # builds itself get the nixpkgs of flake.lock.
      container = ./nix/container.nix;
      base =
        system:
        lib.nixosSystem {
          modules = [
            container
            ./nix/base.nix
            {
              nixpkgs.hostPlatform = system;
              nixoci.nixpkgs = "${nixpkgs}";
            }
          ];
        };
      bases = lib.genAttrs systems base;
    in
    {
      nixosModules = {
        inherit container;
        default = container;
        base = ./nix/base.nix;
        # Adds image.modules.nixoci, for nixos-rebuild build-image.
        image = ./nix/image-module.nix;
      };

      # Adds perSystem.nixoci.images to flake-parts.
      flakeModules.default = ./nix/flake-module.nix;
      flakeModule = self.flakeModules.default;

      # With this check, nix flake check builds an image and all of its inputs.
      checks = lib.genAttrs systems (system: {
        image = self.lib.${system}.image {
          name = "hello";
          contents = [ nixpkgs.legacyPackages.${system}.hello ];
        };
      });

      # "base" is the base system for x86_64-linux. The other names contain their system.
      nixosConfigurations = {
        base = bases.x86_64-linux;
      }
      // lib.mapAttrs' (system: lib.nameValuePair "base-${system}") bases;

      # nixoci also runs on macOS. nixoci-init and the base system are for Linux.
      packages =
        lib.genAttrs
          (
            systems
            ++ [
              "x86_64-darwin"
              "aarch64-darwin"
            ]
          )
          (
            system:
            let
              pkgs = nixpkgs.legacyPackages.${system};
            in
            {
              nixoci = pkgs.callPackage ./nix/nixoci.nix { };
              default = self.packages.${system}.nixoci;
            }
            // lib.optionalAttrs (lib.elem system systems) {
              nixoci-init = pkgs.callPackage ./nix/nixoci-init.nix { };
              base = bases.${system}.config.system.build.toplevel;
            }
          );

      # nixoci itself, and the function that makes images of packages.
      overlays.default = final: _: {
        nixoci = final.callPackage ./nix/nixoci.nix { };
        nixociImage = import ./nix/image.nix {
          pkgs = final;
          inherit (final) nixoci;
        };
      };

      lib = {
        # extend takes a nixosConfiguration and returns the same system as a container.
        extend = nixos: nixos.extendModules { modules = [ container ]; };
      }
      # lib.${system}.image is the function that makes images of packages.
      // lib.genAttrs systems (system: {
        image = import ./nix/image.nix {
          pkgs = nixpkgs.legacyPackages.${system};
          inherit (self.packages.${system}) nixoci;
        };
      });
    };
}
