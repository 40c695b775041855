# Examples from the manuals of dockerTools and nix2container, with nixoci's function.
# docs/coming-from-dockertools.md and docs/coming-from-nix2container.md list the
# lines that differ.
#
#   nix-build examples/nix-function -A redis.load && ./result/bin/load-redis
{
  pkgs ? import <nixpkgs> { },
  image ? import ../../nix/image.nix { inherit pkgs; },
}:

builtins.listToAttrs (
  map
    (name: {
      inherit name;
      value = import (./. + "/${name}.nix") { inherit pkgs image; };
    })
    [
      # dockerTools
      "hello"
      "redis"
      "nginx"
      "editors"
      "nix"
      "certificates"
      "fakeroot"
      "shadow"
      "layered"
      "cross"
      # nix2container
      "bash"
      "conversation"
      "nested"
      "openbar"
      "ownership"
      "nix-user"
      "uwsgi"
      "created"
    ]
)
