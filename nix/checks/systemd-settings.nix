{
  configuration =
    { pkgs, ... }:
    {
      systemd.settings.Manager.DefaultTimeoutStopSec = "20s";
      systemd.oomd.enableRootSlice = true;
      systemd.coredump.settings.Coredump.Storage = "none";
      systemd.network.enable = true;
      systemd.network.wait-online.anyInterface = true;
      systemd.paths.inbox.pathConfig.PathExistsGlob = "/srv/inbox/*";
      systemd.paths.inbox.wantedBy = [ "paths.target" ];
      systemd.services.inbox.script = "true";
      systemd.tmpfiles.settings.srv."/srv/inbox".d.mode = "0755";
      systemd.services.jail = {
        confinement.enable = true;
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${pkgs.hello}/bin/hello";
      };
      systemd.mounts = [
        {
          what = "tmpfs";
          where = "/var/cache/app";
          type = "tmpfs";
          wantedBy = [ "local-fs.target" ];
        }
      ];
      systemd.automounts = [ { where = "/srv/nas"; } ];
      services.journald.extraConfig = "SystemMaxUse=100M";
      services.journald.remote.enable = true;
      services.userdbd.enable = true;
      services.homed.enable = true;
      services.dbus.implementation = "broker";
    };
  nixpkgs = "26.05";
}
