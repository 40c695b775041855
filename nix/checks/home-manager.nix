{
  # What home-manager makes from a home: a package that a unit of the system
  # activates, and units of the user.
  configuration =
    { pkgs, ... }:
    let
      home = pkgs.writeShellScriptBin "activate" ''
        mkdir -p ~/.config/systemd/user
      '';
    in
    {
      users.users.alice.isNormalUser = true;
      users.users.alice.linger = true;
      users.users.alice.packages = [ pkgs.hello ];
      systemd.services.home-manager-alice = {
        description = "Home Manager environment for alice";
        wantedBy = [ "multi-user.target" ];
        wants = [ "nix-daemon.socket" ];
        after = [ "nix-daemon.socket" ];
        before = [ "systemd-user-sessions.service" ];
        stopIfChanged = false;
        unitConfig.RequiresMountsFor = "/home/alice";
        serviceConfig = {
          User = "alice";
          Type = "oneshot";
          RemainAfterExit = true;
          TimeoutStartSec = "5m";
          ExecStart = "${home}/bin/activate";
        };
      };
      systemd.user.timers.sync = {
        wantedBy = [ "timers.target" ];
        timerConfig.OnCalendar = "hourly";
      };
      systemd.user.services.sync.script = "true";
      systemd.user.tmpfiles.rules = [ "d %h/data" ];
      services.gnome.gnome-keyring.enable = true;
      programs.dconf.enable = true;
    };
}
