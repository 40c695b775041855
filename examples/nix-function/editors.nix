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
  config.Cmd = [ "bash" ]; # an image of nixoci must start a program
}
