{
  configuration =
    { pkgs, ... }:
    {
      system.autoUpgrade = {
        enable = true;
        flake = "github:example/machines";
        flags = [ "-L" ];
        dates = "04:40";
        allowReboot = true;
      };
      nix.gc.automatic = true;
      nix.gc.options = "--delete-older-than 14d";
      nix.optimise.automatic = true;
      nix.settings.auto-optimise-store = true;
      nix.settings.trusted-users = [ "@wheel" ];
      nix.package = pkgs.nixVersions.latest;
      nixpkgs.config.allowUnfree = true;
      services.cron.enable = true;
      services.fcron.enable = false;
    };
}
