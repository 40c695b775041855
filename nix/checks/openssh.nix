{
  # sshd is a service that listens, not a socket. Users log in with keys.
  configuration = {
    services.openssh.enable = true;
    services.openssh.settings.PasswordAuthentication = false;
    users.users.root.openssh.authorizedKeys.keys = [
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGqzQkIXcz7U1gm3kOaJ1VvX6JXn5Dz1tQh4u1Zs9E3r admin"
    ];
  };
  expected.services.openssh.startWhenNeeded = false;
  expected.systemd.services.sshd.wantedBy = [ "multi-user.target" ];
}
