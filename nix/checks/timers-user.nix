{
  # Timers of the system and of its users, with dependencies, slices and paths.
  configuration =
    { pkgs, ... }:
    {
      systemd.user.timers.sync = {
        wantedBy = [ "timers.target" ];
        timerConfig.OnUnitActiveSec = "5m";
      };
      systemd.user.services.sync.script = "true";
      systemd.slices.batch.sliceConfig.MemoryMax = "1G";
      systemd.services.nightly = {
        startAt = [
          "Mon *-*-* 03:00:00"
          "daily"
        ];
        path = [ pkgs.rsync ];
        script = "rsync --version";
        onFailure = [ "alert@%n.service" ];
        serviceConfig = {
          Slice = "batch.slice";
          Type = "oneshot";
          Nice = 19;
          IOSchedulingClass = "idle";
        };
      };
      systemd.services."alert@".serviceConfig.ExecStart = "${pkgs.coreutils}/bin/echo %i";
      systemd.paths.inbox = {
        wantedBy = [ "paths.target" ];
        pathConfig.PathExistsGlob = "/var/inbox/*";
      };
      systemd.services.inbox.script = "true";
      systemd.sockets.echo = {
        wantedBy = [ "sockets.target" ];
        listenStreams = [ "7" ];
        socketConfig.Accept = true;
      };
      systemd.services."echo@".serviceConfig = {
        ExecStart = "${pkgs.coreutils}/bin/cat";
        StandardInput = "socket";
      };
      systemd.tmpfiles.settings.app."/var/inbox".d.mode = "0777";
      systemd.tmpfiles.rules = [ "d /srv/app 0750 root root 7d" ];
      systemd.settings.Manager.DefaultLimitNOFILE = "65536";
      services.logrotate.settings."/var/log/app.log".rotate = 3;
      systemd.defaultUnit = "multi-user.target";
      systemd.services.systemd-journald.serviceConfig.Restart = "always";
      services.journald.extraConfig = "Storage=volatile";
      services.journald.rateLimitBurst = 0;
    };
}
