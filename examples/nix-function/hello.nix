# dockerTools manual, "Building a layered Docker image": buildLayeredImage.
{ pkgs, image }:
image {
  name = "hello";
  tag = "latest";

  copyToRoot = [ pkgs.hello ]; # contents

  config.Cmd = [ "/bin/hello" ];
}
