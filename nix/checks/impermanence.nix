{
  # Bind mounts fail if the container may not mount. The boot must continue.
  configuration = {
    fileSystems."/" = {
      device = "none";
      fsType = "tmpfs";
    };
    fileSystems."/persist" = {
      device = "/dev/disk/by-label/persist";
      fsType = "ext4";
      neededForBoot = true;
    };
    fileSystems."/var/lib/app" = {
      device = "/persist/var/lib/app";
      fsType = "none";
      options = [ "bind" ];
      depends = [ "/persist" ];
    };
    environment.etc."app/id".source = "/persist/etc/id";
  };
  expected.systemd.enableEmergencyMode = false;
}
