# Something that a system has unless it is told otherwise, as the base is.
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
