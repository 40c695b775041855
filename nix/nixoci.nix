{
  lib,
  buildGoModule,
  buildGo126Module ? buildGoModule,
}:

buildGo126Module {
  pname = "nixoci";
  version = "0.1.0";
  src = lib.cleanSource ../.;
  # make vendor-hash prints it.
  vendorHash = lib.fakeHash;
  subPackages = [ "cmd/nixoci" ];
  env.CGO_ENABLED = 0;
  ldflags = [
    "-s"
    "-w"
  ];
  meta = {
    description = "Turns the closure of a NixOS system into a container image and pushes it";
    mainProgram = "nixoci";
  };
}
