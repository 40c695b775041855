# The base system as nixoci ships it, with Debian's packages in place of
# nixpkgs': nix/ is evaluated as it is, on a nixpkgs that is made for it.
{
  system,
  nixpkgs,
  flake,
  configuration ? { },
  cached ? [ ],
  foreign ? false,
}:
let
  source = builtins.path {
    name = "source";
    path = nixpkgs;
  };
  base = import (flake + "/nix/eval.nix") {
    inherit system configuration;
    nixpkgs = source;
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
          ]
          ++ map (name: pkgs.${name}) cached;
        }
      )
    ];
  };
  # Somebody's system that has never heard of nixoci.
  alone = import (source + "/nixos/lib/eval-config.nix") {
    inherit system;
    modules = [
      {
        boot.isContainer = true;
        networking.hostName = "foreign";
        networking.resolvconf.enable = false; # the engine's file cannot be replaced
        system.stateVersion = "24.05";
        services.nginx.enable = true;
        services.nginx.virtualHosts.localhost.root = "/web";
      }
    ];
  };
in
(if foreign then alone else base).config.system.build.toplevel
