# nixoci's own image, for runners without Nix: nixoci, a shell and certificates,
# for two platforms. nix/image.nix describes it, and nixoci pushes itself:
#
#   make cross
#   $(nix-build --no-out-link .ci/image -A push)/bin/push-nixoci REF
{
  # Returns the packages for a system, of the nixpkgs that flake.lock names.
  packages ?
    let
      inherit ((builtins.fromJSON (builtins.readFile ../../flake.lock)).nodes.nixpkgs) locked;
      nixpkgs = fetchTarball {
        url = "https://github.com/${locked.owner}/${locked.repo}/archive/${locked.rev}.tar.gz";
        sha256 = locked.narHash;
      };
    in
    system:
    import nixpkgs {
      inherit system;
      config = { };
      overlays = [ ];
    },
  # The released programs: make cross writes them.
  programs ? {
    x86_64-linux = ../../dist/nixoci-linux-amd64;
    aarch64-linux = ../../dist/nixoci-linux-arm64;
  },
  # The machine that makes the image. It builds nothing for the other platform.
  host ? builtins.currentSystem,
}:

let
  pkgs = packages host;
  program =
    system:
    pkgs.runCommand "nixoci" { } ''
      mkdir -p $out/bin
      cp ${programs.${system}} $out/bin/nixoci
      chmod +x $out/bin/nixoci
    ''
    // {
      meta.mainProgram = "nixoci";
    };
  contents = system: [
    (program system)
    (packages system).busybox
    (packages system).cacert
  ];
  image = import ../../nix/image.nix {
    inherit pkgs;
    nixoci = program host;
  };
in
image {
  name = "ghcr.io/nixoci/nixoci";
  contents = contents host;
  platforms = builtins.listToAttrs (
    map (system: {
      name = system;
      value = contents system;
    }) (builtins.filter (system: system != host) (builtins.attrNames programs))
  );
  links = [ "/bin" ];
  caCertificates = true;
  config = {
    # Without an entrypoint, because runners start a shell.
    Cmd = [
      "nixoci"
      "--help"
    ];
    Labels = {
      "org.opencontainers.image.source" = "https://github.com/nixoci/nixoci";
      "org.opencontainers.image.licenses" = "MIT";
    };
  };
  attest = [
    "closure"
    "sbom"
    "provenance"
  ];
}
