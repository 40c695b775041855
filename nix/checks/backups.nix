{
  configuration = {
    services.restic.backups.all = {
      repository = "s3:https://s3.example.org/backup";
      passwordFile = "/run/secrets/restic";
      paths = [ "/var/lib" ];
      initialize = true;
    };
    services.borgbackup.jobs.home = {
      paths = "/home";
      repo = "/srv/borg";
      encryption.mode = "none";
    };
    services.syncthing.enable = true;
    services.rsyncd.enable = true;
    services.nfs.server.enable = true;
    services.nfs.server.exports = "/srv *(ro)";
    services.vsftpd.enable = true;
    services.openiscsi.enable = true;
    services.openiscsi.name = "iqn.2026-11.org.example:app";
  };
}
