{
  base = false;
  configuration =
    { pkgs, ... }:
    {
      users.defaultUserShell = pkgs.zsh;
      users.users.root.shell = pkgs.fish;
      users.users.alice = {
        isNormalUser = true;
        shell = pkgs.nushell;
        ignoreShellProgramCheck = true;
      };
      programs.zsh = {
        enable = true;
        autosuggestions.enable = true;
        syntaxHighlighting.enable = true;
        ohMyZsh.enable = true;
        ohMyZsh.plugins = [ "git" ];
      };
      programs.fish.enable = true;
      programs.starship.enable = true;
      programs.fzf.keybindings = true;
      programs.mosh.enable = true;
      programs.gnupg.agent.enable = true;
      environment.shellAliases.ll = "ls -l";
      environment.localBinInPath = true;
      environment.sessionVariables.EDITOR = "vim";
    };
}
