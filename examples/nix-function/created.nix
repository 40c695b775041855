# nix2container/examples/created.nix
{ pkgs, image }:
image {
  name = "created";
  config = {
    entrypoint = [ "${pkgs.hello}/bin/hello" ];
  };
  created = "2024-05-13T09:31:10Z";
}
