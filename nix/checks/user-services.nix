{
  configuration = {
    users.users.alice = {
      isNormalUser = true;
      linger = true;
    };
    systemd.user.services.hello = {
      wantedBy = [ "default.target" ];
      script = "echo hello";
    };
    systemd.tmpfiles.rules = [ "d /srv/data 0750 alice users -" ];
    systemd.slices.apps.sliceConfig.MemoryMax = "1G";
    systemd.sockets.echo = {
      wantedBy = [ "sockets.target" ];
      listenStreams = [ "7777" ];
      socketConfig.Accept = true;
    };
    systemd.services."echo@".serviceConfig = {
      ExecStart = "/run/current-system/sw/bin/cat";
      StandardInput = "socket";
    };
  };
}
