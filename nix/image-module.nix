# Adds the variant nixoci to the images of a NixOS configuration:
#
#   nixos-rebuild build-image --image-variant nixoci && ./result/bin/push ghcr.io/org/web
#
# It needs a nixpkgs with image.modules (25.05 or later); with another it does
# nothing.
{ lib, options, ... }:

let
  inherit (import ./options.nix { inherit lib options; }) set;
in
{
  config = set [ "image" "modules" ] { nixoci = ./image-variant.nix; };
}
