{
  # Users with passwords, keys and rights.
  configuration =
    { pkgs, ... }:
    {
      users.mutableUsers = false;
      users.users.root.hashedPassword = "!";
      users.users.alice = {
        isNormalUser = true;
        uid = 1200;
        group = "staff";
        hashedPassword = "$6$rounds=5000$abcdefgh$1bPu3b8kBdZJdE0bP0sQbKqkqO6vJc3mMcW5t8nN1zFZlUuH8JqfV8Zc6a5wLr3q7p8W7yZ4oT1nUo2pXn0gR/";
        openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8c4YQ0f9cH7gk3yqk8D2m9s8wq5s7S2d7vQk2lE0aB alice" ];
        linger = true;
        subUidRanges = [
          {
            startUid = 100000;
            count = 65536;
          }
        ];
      };
      users.groups.staff.gid = 1300;
      security.sudo.extraRules = [
        {
          groups = [ "staff" ];
          commands = [
            {
              command = "${pkgs.systemd}/bin/systemctl restart web";
              options = [ "NOPASSWD" ];
            }
          ];
        }
      ];
      security.doas.enable = true;
      security.polkit.enable = true;
      security.pam.loginLimits = [
        {
          domain = "*";
          type = "soft";
          item = "nofile";
          value = "4096";
        }
      ];
      environment.etc."app/token" = {
        text = "token";
        mode = "0400";
        user = "alice";
      };
      environment.etc."app/plain".source = "/run/secrets/plain";
    };
  expected.users.users.alice.uid = 1200;
  expected.environment.etc."app/token".mode = "0400";
}
