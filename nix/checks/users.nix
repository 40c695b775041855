{
  configuration =
    { pkgs, ... }:
    {
      users.users.alice = {
        isNormalUser = true;
        extraGroups = [ "wheel" ];
        shell = pkgs.zsh;
        packages = [ pkgs.htop ];
      };
      users.groups.team.members = [ "alice" ];
      programs.zsh.enable = true;
      security.sudo.wheelNeedsPassword = false;
    };
}
