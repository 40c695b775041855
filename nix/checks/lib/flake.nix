# Evaluates the outputs of the flake, and what nixoci push and /config make from
# it. nixpkgs replaces the nixpkgs in the flake's lock. The results are listed
# by system, as in check.nix.
{ nixpkgs }:

let
  # A directory as a flake's input. Its string is a store path, as for a nixpkgs
  # that is already in the store.
  input = rec {
    outPath = toString nixpkgs;
    lastModified = 1;
    lastModifiedDate = "19700101000001";
    __toString = _: "${builtins.storeDir}/00000000000000000000000000000000-source";
  };
  nixpkgsFlake = (import (nixpkgs + "/flake.nix")).outputs { self = nixpkgsFlake // input; } // input;
  self = (import ../../../flake.nix).outputs {
    inherit self;
    nixpkgs = nixpkgsFlake;
  };

  inherit (nixpkgsFlake) lib;
  linux = [
    "x86_64-linux"
    "aarch64-linux"
  ];
  bake = import ../../bake.nix;

  toplevel = nixos: {
    inherit (nixos.config.system.build.toplevel) drvPath;
    inherit (nixos.config) warnings;
  };
  container =
    nixos:
    toplevel nixos
    // {
      wrong = import ./invariants.nix {
        inherit (nixos) lib config;
        inherit (nixos.pkgs.stdenv.hostPlatform) system;
      };
    };
  # The results of bake.nix, by system.
  baked =
    answers:
    lib.listToAttrs (
      map (
        answer:
        lib.nameValuePair answer.system {
          inherit (answer) drvPath;
          wrong = lib.optional (
            answer.buildSystem != answer.system
          ) "is built on ${answer.buildSystem}, not on ${answer.system}";
        }
      ) answers
    );
  same =
    what: a: b:
    lib.mapAttrs (
      system: answer:
      answer
      // {
        wrong =
          answer.wrong or [ ]
          ++ lib.optional (
            answer.drvPath != b.${system}.drvPath
          ) "is not ${what}: ${b.${system}.drvPath}";
      }
    ) a;

  computer = nixpkgsFlake.lib.nixosSystem {
    modules = [
      {
        nixpkgs.hostPlatform = "x86_64-linux";
        boot.loader.grub.enable = false;
        fileSystems."/" = {
          device = "none";
          fsType = "tmpfs";
        };
        system.stateVersion = lib.trivial.release;
        containers.web.config = ../../../examples/web/nginx.nix;
      }
    ];
  };
in

{
  # For each system, all packages except the base system, which bases evaluates.
  packages = lib.mapAttrs (_: packages: {
    drvPath = toString (
      lib.mapAttrsToList (_: package: package.drvPath) (removeAttrs packages [ "base" ])
    );
  }) self.packages;

  # The image function, with the names of dockerTools and of nix2container.
  image = lib.genAttrs linux (
    system:
    let
      pkgs = nixpkgsFlake.legacyPackages.${system};
      image = self.lib.${system}.image {
        name = "ghcr.io/org/hello";
        tag = "1";
        contents = [ pkgs.hello ];
        copyToRoot = [ pkgs.cacert ];
        platforms.riscv64-linux = [ pkgs.file ];
        config = {
          Cmd = [ "-g" "${pkgs.jq}/bin/jq" ];
          Env = [ "A=b=c" ];
          ExposedPorts."80/tcp" = { };
          workingDir = "/tmp";
          User = 1000;
        };
        files = [ { path = "/var/lib/app"; uid = 1000; } ];
        maxLayers = 20;
        created = null;
      };
      want = {
        nixociImage = 1;
        contents = [
          "${system}=${pkgs.hello}"
          "${system}=${pkgs.cacert}"
          "${system}=${pkgs.jq}"
          "riscv64-linux=${pkgs.file}"
        ];
        programs = {
          ${builtins.unsafeDiscardStringContext "${pkgs.hello}"} = "hello";
          ${builtins.unsafeDiscardStringContext "${pkgs.file}"} = "file";
        };
        links = [ "/" ];
        files = [ { path = "/var/lib/app"; uid = 1000; } ];
        config = {
          cmd = [ "-g" "${pkgs.jq}/bin/jq" ];
          env.A = "b=c";
          ports = [ "80/tcp" ];
          workingDir = "/tmp";
          user = "1000";
        };
        layers.max = 20;
      };
      got = builtins.toJSON image.specification;
      refused = arguments: !(builtins.tryEval (self.lib.${system}.image arguments).drvPath).success;
      bare = { name = "x"; contents = [ pkgs.hello ]; };
    in
    {
      drvPath = toString (map (a: image.${a}.drvPath) [ "push" "load" "run" "layout" "plan" "verify" ]);
      wrong =
        lib.optional (got != builtins.toJSON want) "the specification is ${got}"
        ++ lib.optional (!refused (bare // { created = "now"; })) "created = \"now\" is taken"
        ++ lib.optional (!refused (bare // { config.Entrypont = [ ]; })) "a config with an unknown name is taken";
    }
  );

  bases = lib.genAttrs linux (system: container self.nixosConfigurations."base-${system}");

  # What nixoci push REF makes: the base system, for each platform.
  baked = same "the base system" (baked (bake { systems = linux; } self.nixosConfigurations.base)) (
    lib.genAttrs linux (system: toplevel self.nixosConfigurations."base-${system}")
  );

  # A user's system as a container, made with lib.extend and with nixoci push
  # .#web.
  extended =
    same "what lib.extend makes" (baked (bake { systems = [ ]; } computer)) {
      x86_64-linux = toplevel (self.lib.extend computer);
    }
    // removeAttrs (baked (bake { systems = linux; } computer)) [ "x86_64-linux" ];

  # A system that runs a NixOS container itself. The module must not change it.
  host.x86_64-linux = toplevel computer;

  # What nixoci push REF FILE makes.
  file = baked (
    bake {
      systems = linux;
      modules = [ ../../../examples/web/nginx.nix ];
    } self.nixosConfigurations.base
  );
}
