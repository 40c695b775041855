# nix2container/examples/bash.nix
{ pkgs, image }:
image {
  name = "bash";
  copyToRoot = [
    # When we want tools in /, we need to symlink them in order to
    # still have libraries in /nix/store.
    (pkgs.buildEnv {
      name = "root";
      paths = [ pkgs.bashInteractive pkgs.coreutils ];
      pathsToLink = [ "/bin" ];
    })
  ];
  config = {
    Cmd = [ "/bin/bash" ];
  };
}
