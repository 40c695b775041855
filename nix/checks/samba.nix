{
  configuration = {
    services.samba = {
      enable = true;
      openFirewall = true;
      settings.global.workgroup = "WORKGROUP";
      settings.public = {
        path = "/srv/public";
        "read only" = "no";
        "guest ok" = "yes";
      };
    };
    services.samba-wsdd.enable = true;
    services.avahi = {
      enable = true;
      nssmdns4 = true;
    };
  };
}
