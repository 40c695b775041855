# dockerTools.examples.nix: buildImageWithNixDb. The database lists every store path
# of the image.
{ pkgs, image }:
image {
  name = "nix";
  tag = "latest";
  includeNixDB = true; # buildImageWithNixDb
  copyToRoot = pkgs.buildEnv {
    name = "image-root";
    pathsToLink = [ "/bin" ];
    paths = [
      # nix-store uses cat program to display results as specified by
      # the image env variable NIX_PAGER.
      pkgs.coreutils
      pkgs.nix
      pkgs.bash
    ];
  };
  config = {
    Cmd = [ "bash" ];
    Env = [
      "NIX_PAGER=cat"
      # A user is required by nix
      # https://github.com/NixOS/nix/blob/9348f9291e5d9e4ba3c4347ea1b235640f54fd79/src/libutil/util.cc#L478
      "USER=nobody"
    ];
  };
}
