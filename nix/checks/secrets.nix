{
  # sops-nix and agenix use activation scripts like these, which other scripts
  # wait for.
  configuration =
    { lib, pkgs, ... }:
    {
      system.activationScripts.decryptSecrets = {
        deps = [
          "specialfs"
          "etc"
        ];
        text = ''
          mkdir -p /run/secrets.d/1
          grep -q "/run/secrets.d ramfs" /proc/mounts || mount -t ramfs none /run/secrets.d -o nodev,nosuid,mode=0751 || true
          ${pkgs.age}/bin/age --decrypt -i /etc/ssh/ssh_host_ed25519_key -o /run/secrets.d/1/token ${pkgs.writeText "token.age" ""} || true
          ln -sfn /run/secrets.d/1 /run/secrets
        '';
      };
      system.activationScripts.users.deps = [ "decryptSecrets" ];
      users.users.app = {
        isSystemUser = true;
        group = "app";
        hashedPasswordFile = "/run/secrets/token";
      };
      users.groups.app = { };
    };
}
