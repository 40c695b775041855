# nix2container/examples/ownership.nix and perms.nix: a copy of a store path with
# another owner and other modes. The owner can write to the files that nixoci copies.
{ pkgs, image }:
let
  test = pkgs.runCommand "test" { } ''
    mkdir -p $out/data
    touch $out/data/test1.txt
    touch $out/data/test2.txt
  '';
in
image {
  name = "ownership";
  config.entrypoint = [ "${pkgs.coreutils}/bin/ls" "-ln" "/data/" ];
  # copyToRoot = [ test ];
  # perms = [ { path = test; regex = "/tmp/test1.txt"; uid = 1001; gid = 1001; } ];
  files = [
    { path = "/data"; source = "${test}/data"; uid = 1001; gid = 1001; mode = "0750"; }
  ];
}
