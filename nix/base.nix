# The system that nixoci ships: as little as runs systemd and Nix.
{
  lib,
  options,
  ...
}:

let
  weakly = lib.mkOverride 900;
  set =
    path: value:
    let
      option = lib.attrByPath path null options;
    in
    lib.optionalAttrs (option != null && (option.visible or true) != false) (
      lib.setAttrByPath path value
    );
in

{
  config = lib.mkMerge [
    (set [ "documentation" "enable" ] (weakly false))
    (set [ "documentation" "nixos" "enable" ] (weakly false))
    (set [ "environment" "defaultPackages" ] (weakly [ ]))
    (set [ "environment" "stub-ld" "enable" ] (weakly false))
    (set [ "fonts" "fontconfig" "enable" ] (weakly false))
    (set [ "programs" "command-not-found" "enable" ] (weakly false))
    (set [ "programs" "less" "lessopen" ] (weakly null))
    (set [ "services" "logrotate" "enable" ] (weakly false))
    (set [ "services" "udisks2" "enable" ] (weakly false))
    (set [ "xdg" "autostart" "enable" ] (weakly false))
    (set [ "xdg" "icons" "enable" ] (weakly false))
    (set [ "xdg" "mime" "enable" ] (weakly false))
    (set [ "xdg" "sounds" "enable" ] (weakly false))
  ];
}
