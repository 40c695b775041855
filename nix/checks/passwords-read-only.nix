{
  # NixOS mounts the files over themselves for reading alone, which fails where a
  # container may not mount, and with it the boot and each switch.
  configuration = {
    services.userborn.enable = true;
    services.userborn.passwordFilesLocation = "/var/lib/nixos/etc";
    users.mutableUsers = false;
    users.users.root.hashedPassword = "!";
  };
  expected.systemd.services.userborn.serviceConfig.ExecStartPost = commands: commands == [ ];
  nixpkgs = "25.05";
}
