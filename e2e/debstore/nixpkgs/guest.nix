# The base system as nixoci ships it, with Debian's packages in place of
# nixpkgs': nix/ is evaluated as it is, on a nixpkgs that is made for it.
{
  system,
  nixpkgs,
  flake,
  configuration ? null,
}:
let
  source = builtins.path {
    name = "source";
    path = nixpkgs;
  };
in
(import (flake + "/nix/eval.nix") {
  inherit system;
  nixpkgs = source;
  configuration = if configuration == null then { } else configuration;
  modules = [
    (flake + "/nix/base.nix")
    (
      { pkgs, ... }:
      {
        nixoci.nixpkgs = source;
        # There is no cache to fetch it from in the tests.
        system.extraDependencies = [
          pkgs.nginx
          pkgs.curl
          pkgs.debian.nginx-common
        ];
      }
    )
  ];
}).config.system.build.toplevel
