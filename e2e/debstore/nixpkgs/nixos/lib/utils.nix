# The argument utils of modules. It is not in lib, because it needs config and
# pkgs.
{
  lib,
  config,
  pkgs,
}:
let
  systemdLib = import ./systemd-lib.nix { inherit lib config pkgs; };
in
{
  escapeSystemdPath =
    s: lib.concatStringsSep "-" (lib.splitString "/" (lib.removePrefix "/" s));

  systemdUtils = {
    lib = systemdLib;
    unitOptions = import ./systemd-unit-options.nix { inherit lib; };
    types = import ./systemd-types.nix { inherit lib systemdLib; };
  };
}
