{
  # A build server: agents, containers and caches of Nix.
  configuration =
    { pkgs, ... }:
    {
      services.gitea-actions-runner.instances.default = {
        enable = true;
        name = "default";
        url = "https://git.example.org";
        tokenFile = "/run/secrets/runner";
        labels = [ "native:host" ];
      };
      services.github-runners.one = {
        enable = true;
        url = "https://github.com/example/example";
        tokenFile = "/run/secrets/github";
      };
      services.nix-serve.enable = true;
      nix.settings = {
        trusted-users = [ "@wheel" ];
        max-jobs = 4;
        auto-optimise-store = true;
        extra-substituters = [ "https://cache.example.org" ];
        extra-trusted-public-keys = [ "cache.example.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
      };
      nix.buildMachines = [
        {
          hostName = "builder";
          systems = [ "x86_64-linux" ];
          sshUser = "root";
        }
      ];
      nix.distributedBuilds = true;
      nix.gc = {
        automatic = true;
        options = "--delete-older-than 7d";
      };
      nixpkgs.config.allowUnfree = true;
      programs.nix-ld.enable = true;
    };
}
