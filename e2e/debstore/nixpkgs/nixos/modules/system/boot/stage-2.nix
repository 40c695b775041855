{ lib, ... }:

with lib;

{
  imports = [
    (lib.mkRemovedOptionModule [
      "boot"
      "readOnlyNixStore"
    ] "Please use the `boot.nixStoreMountOpts' option to define mount options for the Nix store, including 'ro'")
  ];

  options.boot = {
    postBootCommands = mkOption {
      default = "";
      type = types.lines;
    };
    nixStoreMountOpts = mkOption {
      type = types.listOf types.nonEmptyStr;
      default = [
        "ro"
        "nodev"
        "nosuid"
      ];
    };
  };
}
