# Evaluates the outputs of the flake, and what nixoci push and /config make from
# it. nixpkgs replaces the nixpkgs in the flake's lock. The results are listed
# by system, as in check.nix.
{
  nixpkgs,
  flakeParts ? null,
}:

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

  # What an image of the function can do.
  imageAttributes = [
    "push"
    "load"
    "run"
    "layout"
    "plan"
    "verify"
    "copyToRegistry"
    "copyToDockerDaemon"
    "copyToPodman"
    "copyTo"
  ];

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
          Healthcheck = { Test = [ "CMD" "hello" ]; Interval = 30000000000; StartPeriod = "1m"; Retries = 2; };
        };
        fromImage = {
          ${system} = "docker.io/library/debian:12";
          riscv64-linux = "oci:base";
        };
        files = [ { path = "/var/lib/app"; uid = 1000; } ];
        describe = { source = "https://github.com/org/hello"; licenses = "MIT"; };
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
          entrypoint = [ ];
          env.A = "b=c";
          ports = [ "80/tcp" ];
          workingDir = "/tmp";
          user = "1000";
          healthcheck = { test = [ "CMD" "hello" ]; interval = "30000000000ns"; startPeriod = "1m"; retries = 2; };
        };
        fromImages = {
          "linux/${if system == "x86_64-linux" then "amd64" else "arm64"}" = "docker.io/library/debian:12";
          "linux/riscv64" = "oci:base";
        };
        describe = { source = "https://github.com/org/hello"; licenses = "MIT"; };
        layers.max = 20;
      };
      got = builtins.toJSON image.specification;
      refused = arguments: !(builtins.tryEval (self.lib.${system}.image arguments).drvPath).success;
      bare = { name = "x"; contents = [ pkgs.hello ]; };
    in
    {
      drvPath = toString (map (a: image.${a}.drvPath) imageAttributes);
      wrong =
        lib.optional (got != builtins.toJSON want) "the specification is ${got}"
        ++ lib.optional (!refused (bare // { created = "now"; })) "created = \"now\" is taken"
        ++ lib.optional (!refused (bare // { fakeRootCommands = "true"; })) "fakeRootCommands are taken"
        ++ lib.optional (!refused (bare // { content = [ ]; })) "an argument that does not exist is taken"
        ++ lib.optional (!refused (bare // { config.Cmd = "hello -v"; })) "a command that is no list is taken"
        ++ lib.optional (!refused (bare // { config.Entrypont = [ ]; })) "a config with an unknown name is taken";
    }
  );

  # These checks compare the metadata that --meta reads with nixpkgs: for the
  # packages of a configuration in a file, for a package, and for the contents of
  # an image.
  meta =
    let
      meta = import ../../meta.nix;
      ofFile =
        system:
        meta {
          inherit system;
          names = [
            "nginx"
            "python3-requests"
          ];
          modules = [
            ../../../examples/web/nginx.nix
            { system.nixos.revision = lib.mkForce revision; }
          ];
        } self.nixosConfigurations.base;
      revision = "ea04e1fdd523987348c468e8cb53cc36c575d629";
    in
    lib.genAttrs linux (
      system:
      let
        pkgs = nixpkgsFlake.legacyPackages.${system};
        image = self.lib.${system}.image {
          name = "hello";
          contents = [ pkgs.hello ];
          platforms.riscv64-linux = [ pkgs.file ];
        };
        # Fails if a package is missing, or its metadata differ from nixpkgs.
        lacks =
          what: found: package:
          let
            path = builtins.unsafeDiscardStringContext package.outPath;
            all = lib.filter (f: lib.elem path f.paths) found;
            got = lib.head all;
          in
          if all == [ ] then
            [ "${what} lacks ${package.name}" ]
          else
            lib.optional (
              map (l: l.spdxId) got.licenses != map (l: l.spdxId or null) (lib.toList package.meta.license)
            ) "${what}: the licences of ${package.name} are ${builtins.toJSON got.licenses}"
            ++ lib.optional (
              got.homepages != lib.toList package.meta.homepage
            ) "${what}: the homepages of ${package.name} are ${builtins.toJSON got.homepages}"
            ++ lib.optional (
              got.description != package.meta.description
            ) "${what}: the description of ${package.name} is ${got.description}";
        file = ofFile system;
        # A package that is defined outside nixpkgs, here in a file of nixoci.
        own = pkgs.callPackage ../../nixoci-init.nix { };
        ofOwn = lib.head (lib.filter (f: f.name == "nixoci-init") (meta { } own));
        python = lib.filter (f: f.name == "requests") file;
      in
      {
        drvPath = image.drvPath;
        wrong =
          lacks "the file" file pkgs.nginxStable
          ++ lacks "the file" file pkgs.coreutils
          ++ lib.optional (lib.head (meta { } pkgs.hello)).foreign "hello is not from nixpkgs"
          ++ lib.optional (!ofOwn.foreign) "nixoci-init is from nixpkgs"
          ++ lib.optional (lib.any (f: f.commit != revision) python) "python3Packages.requests has the commit ${toString (map (f: f.commit) python)}"
          ++ lib.optional (python == [ ]) "the file lacks python3Packages.requests"
          ++ lacks "the package" (meta { } pkgs.hello) pkgs.hello
          ++ lacks "the image" (meta { } image) pkgs.hello
          ++ lacks "the image" (meta { } image) pkgs.file
          ++ lib.optional (
            (builtins.tryEval (meta { } { a = 1; })).success
          ) "an attribute set without a package is accepted";
      }
    );

  # The module for flake-parts: with its source, or with as much of it as the
  # module uses.
  flakeModule =
    let
      module.perSystem =
        { pkgs, ... }:
        {
          nixoci.images.hello = {
            name = "ghcr.io/org/hello";
            contents = [ pkgs.hello ];
          };
          nixoci.images.page.contents = [ pkgs.file ];
        };
      flake = ((import (flakeParts + "/flake.nix")).outputs {
        self = throw "flake-parts asks for itself";
        nixpkgs-lib = { inherit lib; };
      }).lib.mkFlake
        {
          inputs = rec {
            self = flake // {
              outPath = ../../..;
              inputs = { inherit nixpkgs; };
            };
            nixpkgs = nixpkgsFlake // {
              _type = "flake";
            };
          };
        }
        {
          imports = [
            self.flakeModules.default
            module
          ];
          systems = linux;
        };
      anything = lib.mkOption { type = lib.types.lazyAttrsOf lib.types.raw; };
      standIn =
        system:
        (lib.evalModules {
          specialArgs.pkgs = nixpkgsFlake.legacyPackages.${system};
          modules = [
            (lib.evalModules {
              specialArgs.flake-parts-lib.mkPerSystemOption =
                m: lib.mkOption { type = lib.types.deferredModuleWith { staticModules = [ m ]; }; };
              modules = [
                self.flakeModules.default
                module
              ];
            }).config.perSystem
            {
              options = {
                packages = anything;
                apps = anything;
                checks = anything;
              };
            }
          ];
        }).config;
      outputs =
        system:
        if flakeParts == null then
          standIn system
        else
          lib.genAttrs [ "packages" "apps" "checks" ] (kind: flake.${kind}.${system});
    in
    lib.genAttrs linux (
      system:
      let
        got = outputs system;
        want = self.lib.${system}.image {
          name = "ghcr.io/org/hello";
          contents = [ nixpkgsFlake.legacyPackages.${system}.hello ];
        };
      in
      {
        inherit (got.packages.hello) drvPath;
        wrong =
          lib.optional (got.packages.hello.drvPath != want.drvPath) "packages.hello is not the image"
          ++ lib.optional (got.packages.page.imageName != "page") "the image page is called ${got.packages.page.imageName}"
          ++ lib.optional (got.apps.hello-push.program != lib.getExe want.push) "apps.hello-push is ${got.apps.hello-push.program}"
          ++ lib.optional (
            lib.attrNames got.apps
            != lib.concatMap (n: map (a: "${n}-${a}") [ "layout" "load" "plan" "push" "run" "verify" ]) [ "hello" "page" ]
          ) "the apps are ${toString (lib.attrNames got.apps)}"
          ++ lib.optional (got.checks.image-hello.drvPath != want.drvPath) "nix flake check builds something else";
      }
    );

  # What nixos-rebuild build-image --image-variant nixoci builds and prints.
  variant = lib.genAttrs linux (
    system:
    let
      host = nixpkgsFlake.lib.nixosSystem {
        modules = [
          self.nixosModules.image
          {
            nixpkgs.hostPlatform = system;
            boot.loader.grub.enable = false;
            fileSystems."/" = {
              device = "none";
              fsType = "tmpfs";
            };
            networking.hostName = "web";
            system.stateVersion = lib.trivial.release;
            services.nginx.enable = true;
            image.modules.nixoci.nixoci.image.tag = "1";
          }
        ];
      };
      built = host.config.system.build.images.nixoci;
      toplevel = (self.lib.extend host).config.system.build.toplevel;
    in
    {
      drvPath = "${built.drvPath} ${built.push.drvPath}";
      wrong =
        lib.optional (
          built.specification != {
            nixociImage = 1;
            contents = [ "${system}=${toplevel}" ];
          }
        ) "the specification is ${builtins.toJSON built.specification}"
        ++ lib.optional (
          !lib.hasSuffix ".json" built.passthru.filePath
        ) "nixos-rebuild would print ${built.passthru.filePath}"
        ++ lib.optional ("${built.imageName}:${built.imageTag}" != "web:1") "the image is called ${built.imageName}:${built.imageTag}"
        ++ lib.optional (host.config.boot.isContainer) "the computer itself is a container";
    }
  );

  # What nix flake check builds.
  checks = lib.mapAttrs (_: checks: {
    drvPath = toString (lib.mapAttrsToList (_: check: check.drvPath) checks);
    wrong = lib.optional (checks == { }) "there is no check";
  }) self.checks;

  # nixoci's own image, with any file as the program: a checkout has none.
  ownImage = lib.genAttrs linux (
    system:
    let
      image = import ../../../.ci/image {
        packages = system: nixpkgsFlake.legacyPackages.${system};
        programs = lib.genAttrs linux (_: ./flake.nix);
        host = system;
      };
      inherit (image) specification;
      perSystem = s: lib.filter (lib.hasPrefix "${s}=") specification.contents;
    in
    {
      drvPath = toString (map (a: image.${a}.drvPath) imageAttributes);
      wrong = lib.concatMap (
        s: lib.optional (lib.length (perSystem s) != 3) "the image has ${toString (perSystem s)} for ${s}"
      ) linux;
    }
  );

  # examples/nix-function, with each attribute. A specification may refer to
  # nothing that the image does not have.
  examples = lib.genAttrs linux (
    system:
    let
      pkgs = nixpkgsFlake.legacyPackages.${system};
      images = import ../../../examples/nix-function {
        inherit pkgs;
        inherit (self.lib.${system}) image;
      };
    in
    {
      drvPath = toString (
        lib.mapAttrsToList (_: image: map (a: image.${a}.drvPath) imageAttributes) images
      );
      wrong = lib.concatLists (
        lib.mapAttrsToList (
          name: image:
          let
            inherit (image) specification;
          in
          lib.optional (specification.contents or [ ] == [ ]) "${name} has no contents"
          ++ lib.optional (!(specification ? config.cmd || specification ? config.entrypoint)) "${name} starts nothing"
        ) images
      );
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
