{
  lib,
  buildGoModule,
  buildGo126Module ? buildGoModule,
}:

buildGo126Module {
  pname = "nixoci";
  version = "0.1.0";
  src = lib.cleanSource ../.;
  # make vendor-hash brings it up to date.
  vendorHash = "sha256-eIkCj9YbfpzT0ZvzSg9PHHhbe48jKWUkzAWSxf5ImSo=";
  subPackages = [ "cmd/nixoci" ];
  # Not in env: until 24.11, buildGoModule passes CGO_ENABLED outside of it, and
  # both at once do not evaluate.
  preBuild = ''
    export CGO_ENABLED=0
  '';
  ldflags = [
    "-s"
    "-w"
  ];
  meta = {
    description = "Turns the closure of a NixOS system into a container image and pushes it";
    mainProgram = "nixoci";
  };
}
