{ config, lib, ... }:
{
  imports = [
    (lib.mkRenamedOptionModule
      [ "systemd" "oomd" "enableUserServices" ]
      [ "systemd" "oomd" "enableUserSlices" ]
    )
  ];
  options.systemd.oomd = {
    enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
    };
    enableUserSlices = lib.mkOption {
      type = lib.types.bool;
      default = false;
    };
  };
}
