# The base system of nixoci, with Debian's packages instead of those of nixpkgs.
# The files of nix/ are unchanged. This nixpkgs contains what they need.
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
          # The tests have no cache to download these from.
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
  # A system that does not use nixoci's module.
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
