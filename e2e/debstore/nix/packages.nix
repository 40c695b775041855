# The packages of one system: an attribute per entry of a JSON list made by debstore.
{ system, json }:
let
  triplet = { x86_64-linux = "x86_64-linux-gnu"; aarch64-linux = "aarch64-linux-gnu"; }.${system};
  list = builtins.fromJSON (builtins.readFile json);
  package = p: derivation {
    inherit system triplet;
    inherit (p) keep;
    name = p.name + p.rebuild;
    builder = "/bin/sh";
    args = [ ./unpack.sh ];
    debs = map (d: d.file) p.debs;
    sums = map (d: d.sha256) p.debs; # unread: what a package is made of decides its store path
    rebuild = p.rebuild;
    deps = map (d: packages.${d}) p.deps;
    libc = if p.libc then "" else packages.libc6 or "";
  };
  packages = builtins.listToAttrs (map (p: { name = p.key; value = package p; }) list);
in
packages
