{
  # fail2ban bans with the firewall, which the container's network must allow.
  configuration = {
    networking.firewall.enable = true;
    networking.firewall.allowedTCPPorts = [ 22 ];
    services.openssh.enable = true;
    services.fail2ban = {
      enable = true;
      bantime = "1h";
      jails.nginx-botsearch.settings.enabled = true;
    };
    services.nginx.enable = true;
  };
}
