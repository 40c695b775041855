{
  # A server at home: films, music, photos and their downloads.
  configuration = {
    services.jellyfin.enable = true;
    services.navidrome.enable = true;
    services.immich.enable = true;
    services.sonarr.enable = true;
    services.prowlarr.enable = true;
    services.transmission.enable = true;
    services.audiobookshelf.enable = true;
    hardware.graphics.enable = true;
    users.groups.media.members = [
      "jellyfin"
      "sonarr"
    ];
  };
  nixpkgs = "25.05";
}
