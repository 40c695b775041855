# dockerTools.examples.bashLayeredZstdCompressed and bulk-layer: compression, and
# more packages than layers.
{ pkgs, image }:
image {
  name = "bash-layered-zstd";
  tag = "latest";
  compressor = "zstd";
  copyToRoot = [
    pkgs.bash
    pkgs.coreutils
  ]; # contents
  maxLayers = 2;
  config.Cmd = [ "bash" ];
}
