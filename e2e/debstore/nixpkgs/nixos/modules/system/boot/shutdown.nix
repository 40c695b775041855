{ config, ... }:
{
  # The kernel runs this program, for the whole machine.
  boot.kernel.sysctl."kernel.poweroff_cmd" = "${config.systemd.package}/sbin/poweroff";
}
