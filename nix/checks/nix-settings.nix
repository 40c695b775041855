{
  # The configuration's own settings of Nix have priority.
  configuration =
    { pkgs, ... }:
    {
      nix.package = pkgs.nixVersions.latest;
      nix.settings.experimental-features = "nix-command flakes";
      nix.settings.sandbox = true;
      nix.settings.substituters = [ "https://cache.example.org" ];
      nix.gc.automatic = true;
      nix.optimise.automatic = true;
      nix.registry.nixpkgs.to = {
        type = "github";
        owner = "NixOS";
        repo = "nixpkgs";
      };
      nix.channel.enable = false;
    };
  expected.nix.settings.sandbox = true;
  expected.nix.registry.nixpkgs.to.type = "github";
}
