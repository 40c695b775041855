# nix2container/examples/nix-user.nix. nixoci has no nixUid and nixGid, because the
# store always belongs to root. Another user builds into a separate store, which
# NIX_REMOTE names: /home/user/store.
{ pkgs, image }:
let
  user = "user";
  uid = 1000;
  entrypoint = pkgs.writeShellApplication {
    name = "entrypoint";
    text = ''
      id -un && ls -lan /home && nix --version
    '';
  };
in
image {
  name = "nix-user";

  initializeNixDatabase = true;

  copyToRoot = [
    (pkgs.buildEnv {
      name = "root";
      paths = [ pkgs.coreutils pkgs.nix ];
      pathsToLink = [ "/bin" ];
    })
  ];
  # mkUser writes passwd and group
  users = [ { name = user; inherit uid; home = "/home/${user}"; } ];
  # perms = [ { path = mkUser; regex = "/home/${user}"; mode = "0744"; uid = …; } ]
  files = [ { path = "/home/${user}"; mode = "0744"; inherit uid; gid = uid; } ];

  config = {
    Entrypoint = [ "${entrypoint}/bin/entrypoint" ];
    User = "user";
    WorkingDir = "/home/user";
    Env = [
      "HOME=/home/user"
      "NIX_PAGER=cat"
      "USER=user"
    ];
  };
}
