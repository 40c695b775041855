# nix2container/examples/openbar.nix: a directory that everybody can write to.
# Every image has such a directory, /tmp. This image has a second one.
{ pkgs, image }:
image {
  name = "openbar";
  # copyToRoot = [ tmp ]; perms = [ { path = tmp; regex = ".*"; mode = "0777"; } ];
  files = [ { path = "/scratch"; mode = "0777"; } ];
  config = {
    entrypoint = [ "${pkgs.coreutils}/bin/ls" "-l" "/" ];
  };
}
