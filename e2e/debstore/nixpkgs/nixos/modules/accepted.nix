# Options that exist in NixOS and make no difference to this system.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  flag = default: mkOption { type = types.bool; inherit default; };
in
{
  options = {
    boot.isContainer = flag false;
    boot.enableContainers = flag true;
    boot.specialFileSystems = mkOption { type = types.attrsOf types.anything; default = { "/proc" = { }; }; };
    boot.nixStoreMountOpts = mkOption { type = types.listOf types.str; default = [ "ro" ]; };
    console.enable = flag true;
    documentation.enable = flag true;
    # Removed options are declared too: nobody may set them.
    environment.noXlibs = mkOption { type = types.bool; visible = false; apply = _: throw "removed"; };
    networking = {
      _freeform = true;
      hostName = mkOption { type = types.str; default = "nixos"; };
      useHostResolvConf = flag true;
      useDHCP = flag true;
      firewall.enable = flag true;
      firewall.allowedTCPPorts = mkOption { type = types.listOf types.int; default = [ ]; };
      resolvconf.enable = flag true;
    };
    security.enableWrappers = flag true;
    services.journald.console = mkOption { type = types.str; default = ""; };
    services.resolved.enable = flag false;
    services.timesyncd.enable = flag true;
    systemd.coredump.enable = flag true;
    systemd.oomd.enable = flag true;
    system.stateVersion = mkOption { type = types.str; };
    system.switch.enable = flag true;
  };
}
