# dockerTools.examples.cross: programs that are compiled for another system. An
# image of nixoci can contain both platforms.
{ pkgs, image }:
let
  # Cross compile for x86_64 if on aarch64
  other = if pkgs.stdenv.hostPlatform.system == "aarch64-linux" then "x86_64-linux" else "aarch64-linux";
  crossPkgs =
    if pkgs.stdenv.hostPlatform.system == "aarch64-linux" then
      pkgs.pkgsCross.gnu64
    else
      pkgs.pkgsCross.aarch64-multiplatform;
in
image {
  name = "hello-cross";
  tag = "latest";
  contents = [ pkgs.hello ];
  platforms.${other} = [ crossPkgs.hello ];
  config.Entrypoint = [ "hello" ]; # the hello of each platform
}
