{ config, lib, ... }:
let
  cfg = config.services.journald;
in
{
  options.services.journald = {
    console = lib.mkOption {
      type = lib.types.str;
      default = "";
    };
    extraConfig = lib.mkOption {
      type = lib.types.lines;
      default = "";
    };
  };
  config.environment.etc."systemd/journald.conf".text = ''
    [Journal]
    ${lib.optionalString (cfg.console != "") ''
      ForwardToConsole=yes
      TTYPath=${cfg.console}
    ''}
    ${cfg.extraConfig}
  '';
}
