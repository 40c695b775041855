# dockerTools.examples.editors: several packages in one /bin.
{ pkgs, image }:
image {
  name = "editors";
  copyToRoot = pkgs.buildEnv {
    name = "image-root";
    pathsToLink = [ "/bin" ];
    paths = [
      pkgs.coreutils
      pkgs.bash
      pkgs.vim
      pkgs.nano
    ];
  };
  config.Cmd = [ "bash" ]; # an image has to start something
}
