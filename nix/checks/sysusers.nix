{
  configuration = {
    systemd.sysusers.enable = true;
    users.users.app = {
      isSystemUser = true;
      group = "app";
      home = "/var/lib/app";
    };
    users.groups.app = { };
    services.nginx.enable = true;
  };
  nixpkgs = "24.05";
}
