{
  # A container for software development.
  base = false;
  configuration =
    { pkgs, ... }:
    {
      environment.systemPackages = [
        pkgs.gcc
        pkgs.gnumake
        pkgs.jq
        pkgs.ripgrep
      ];
      programs.bash.completion.enable = true;
      programs.direnv.enable = true;
      programs.git.enable = true;
      programs.neovim.enable = true;
      programs.nix-ld.enable = true;
      programs.tmux.enable = true;
      services.envfs.enable = false;
    };
  nixpkgs = "24.11"; # programs.bash.completion
}
