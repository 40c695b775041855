{
  configuration = {
    services.gitlab-runner = {
      enable = true;
      services.shell = {
        authenticationTokenConfigFile = "/run/secrets/gitlab-runner";
        executor = "shell";
      };
    };
    services.woodpecker-server.enable = true;
    nix.buildMachines = [
      {
        hostName = "builder";
        system = "aarch64-linux";
        maxJobs = 4;
      }
    ];
    nix.distributedBuilds = true;
  };
  nixpkgs = "24.11";
}
