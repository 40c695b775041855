# nix2container/examples/openbar.nix: a directory that everybody can write to.
# Every image has /tmp; this one has another.
{ pkgs, image }:
image {
  name = "openbar";
  # copyToRoot = [ tmp ]; perms = [ { path = tmp; regex = ".*"; mode = "0777"; } ];
  files = [ { path = "/scratch"; mode = "0777"; } ];
  config = {
    entrypoint = [ "${pkgs.coreutils}/bin/ls" "-l" "/" ];
  };
}
