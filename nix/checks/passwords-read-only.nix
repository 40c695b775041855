{
  # NixOS mounts the password files read-only over themselves. If a container
  # may not mount, this fails. Then the boot and each switch would fail, too.
  configuration = {
    services.userborn.enable = true;
    services.userborn.passwordFilesLocation = "/var/lib/nixos/etc";
    users.mutableUsers = false;
    users.users.root.hashedPassword = "!";
  };
  expected.systemd.services.userborn.serviceConfig.ExecStartPost = commands: commands == [ ];
  nixpkgs = "25.05";
}
