{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.nix;
  show = v: if builtins.isList v then toString v else if builtins.isBool v then lib.boolToString v else toString v;
in
{
  options.nix = {
    enable = mkOption {
      type = types.bool;
      default = true;
    };
    package = mkOption {
      type = types.package;
      default = pkgs.nix;
    };
    settings = mkOption {
      type = types.submodule {
        freeformType = types.attrsOf types.anything;
        options = {
          sandbox = mkOption {
            type = types.either types.bool (types.enum [ "relaxed" ]);
            default = true;
          };
          substituters = mkOption {
            type = types.listOf types.str;
            default = [ ];
          };
        };
      };
      default = { };
    };
    nixPath = mkOption {
      type = types.listOf types.str;
      default = [ ];
    };
    registry = mkOption {
      type = types.attrsOf (
        types.submodule (
          { name, ... }:
          {
            options = {
              from = mkOption {
                type = types.attrsOf types.str;
                default = {
                  type = "indirect";
                  id = name;
                };
              };
              to = mkOption { type = types.attrsOf types.anything; };
            };
          }
        )
      );
      default = { };
    };
    gc.automatic = mkOption {
      type = types.bool;
      default = false;
    };
    optimise.automatic = mkOption {
      type = types.bool;
      default = false;
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    # Debian's Nix has its helpers in other places, and the tests have no cache.
    nix.settings = {
      build-users-group = lib.mkDefault "";
      filter-syscalls = lib.mkDefault false;
    }
    // lib.optionalAttrs (lib.versionOlder cfg.package.version "2.20") {
      build-hook = lib.mkDefault "${cfg.package.debian}/usr/libexec/nix/build-remote";
    };
    environment.etc."nix/nix.conf".text = lib.concatStrings (
      lib.mapAttrsToList (n: v: "${n} = ${show v}\n") cfg.settings
    );
    environment.etc."nix/registry.json".text = builtins.toJSON {
      version = 2;
      flakes = lib.mapAttrsToList (_: r: { inherit (r) from to; }) cfg.registry;
    };
    environment.variables.NIX_PATH = lib.concatStringsSep ":" cfg.nixPath;
  };
}
