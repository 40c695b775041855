{
  configuration = {
    networking.hostName = "box";
    networking.hostId = "deadbeef";
    networking.extraHosts = ''
      10.0.0.9 db
      # a comment with 'quotes'
    '';
    networking.timeServers = [ "ntp.example.org" ];
    networking.proxy.default = "http://proxy:3128";
    networking.enableIPv6 = false;
    networking.dhcpcd.enable = true;
    services.chrony.enable = true;
    services.timesyncd.enable = false;
    time.timeZone = "Europe/Berlin";
    i18n.defaultLocale = "de_DE.UTF-8";
    i18n.extraLocaleSettings.LC_TIME = "en_DK.UTF-8";
    console.keyMap = "de";
    environment.variables.EDITOR = "vim";
    environment.sessionVariables.LANGUAGE = "de";
    environment.shellAliases.ll = "ls -l";
    programs.vim.enable = true;
    programs.git.enable = true;
    programs.tmux.enable = true;
    programs.fish.enable = true;
  };
  expected.networking.hostName = "box";
}
