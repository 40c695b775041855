# Settings that nixoci.minimal turns off. A plain definition in a configuration
# has priority.
{
  config,
  lib,
  ...
}:

let
  weakly = lib.mkOverride 900;
in

{
  options.nixoci.minimal = lib.mkOption {
    type = lib.types.bool;
    default = false;
    description = ''
      Whether to leave out what a container seldom needs: documentation, fonts,
      icons, tools for maintaining a computer. A system that is built from
      /config is minimal if the system of the image is minimal.
    '';
  };

  config = lib.mkIf config.nixoci.minimal {
    documentation.enable = weakly false;
    documentation.man.enable = weakly false;
    documentation.nixos.enable = weakly false;
    environment.defaultPackages = weakly [ ]; # perl, rsync, strace
    environment.stub-ld.enable = weakly false;
    fonts.fontconfig.enable = weakly false;
    programs.command-not-found.enable = weakly false;
    programs.less.lessopen = weakly null; # perl
    programs.nano.enable = weakly false;
    services.udisks2.enable = weakly false;
    system.disableInstallerTools = weakly true;
    xdg.autostart.enable = weakly false;
    xdg.icons.enable = weakly false;
    xdg.mime.enable = weakly false;
    xdg.sounds.enable = weakly false;

    # These would keep logrotate in every system. A system with a service that
    # has logs still gets it.
    services.logrotate.settings."/var/log/btmp".enable = weakly false;
    services.logrotate.settings."/var/log/wtmp".enable = weakly false;
  };
}
