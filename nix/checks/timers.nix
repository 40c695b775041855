{
  configuration = {
    systemd.timers.backup = {
      wantedBy = [ "timers.target" ];
      timerConfig.OnCalendar = "daily";
    };
    systemd.services.backup.script = "echo backup";
    systemd.services.report = {
      startAt = "hourly";
      script = "echo report";
    };
    services.cron.enable = true;
    services.cron.systemCronJobs = [ "0 * * * * root true" ];
  };
  expected.systemd.timers.report.timerConfig.OnCalendar = [ "hourly" ];
}
