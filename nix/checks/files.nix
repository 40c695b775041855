{
  configuration.services = {
    samba.enable = true;
    vsftpd.enable = true;
    restic.backups.data = {
      paths = [ "/var/lib" ];
      repository = "s3:https://s3.example.org/backup";
      passwordFile = "/run/secrets/restic";
    };
  };
}
