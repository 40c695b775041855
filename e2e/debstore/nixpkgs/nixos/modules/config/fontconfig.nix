# Fontconfig is on by default, and the base system turns it off.
{ config, lib, ... }:
{
  options.fonts.fontconfig.enable = lib.mkOption {
    type = lib.types.bool;
    default = true;
  };
  config.environment.etc."fonts/fonts.conf" = lib.mkIf config.fonts.fontconfig.enable {
    text = "<fontconfig/>\n";
  };
}
