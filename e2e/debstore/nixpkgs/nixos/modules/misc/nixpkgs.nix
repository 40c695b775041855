{ config, lib, options, ... }:
let
  cfg = config.nixpkgs;
in
{
  options.nixpkgs = {
    system = lib.mkOption { type = lib.types.str; };
    hostPlatform = lib.mkOption {
      type = lib.types.either lib.types.str lib.types.attrs;
    };
    pkgs = lib.mkOption { type = lib.types.unspecified; };
  };
  config._module.args.pkgs =
    if options.nixpkgs.pkgs.isDefined then
      cfg.pkgs
    else
      import ../../.. {
        system = if options.nixpkgs.hostPlatform.isDefined then cfg.hostPlatform.system or cfg.hostPlatform else cfg.system;
      };
}
