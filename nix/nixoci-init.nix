# PID 1 of the container. It uses only Go's standard library. So there is no
# hash of vendored modules to update, and the Go of every supported nixpkgs can
# compile it.
{
  lib,
  stdenvNoCC,
  go,
}:

stdenvNoCC.mkDerivation {
  pname = "nixoci-init";
  version = "1";

  src = (import ./source.nix { inherit lib; }).init;

  nativeBuildInputs = [ go ];

  # The source alone is a module without dependencies.
  configurePhase = ''
    printf 'module github.com/nixoci/nixoci\n\ngo 1.22\n' >go.mod
  '';

  buildPhase = ''
    export HOME=$TMPDIR GOCACHE=$TMPDIR/go-cache GOPATH=$TMPDIR/go
    export GOPROXY=off GOTOOLCHAIN=local GOFLAGS=-mod=mod GO111MODULE=on
    export CGO_ENABLED=0 GOOS=linux GOARCH=${if stdenvNoCC.hostPlatform.isAarch64 then "arm64" else "amd64"}
    go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o nixoci-init ./cmd/nixoci-init
  '';

  installPhase = ''
    install -D -m 0555 nixoci-init $out/bin/nixoci-init
  '';

  dontStrip = true;
  # The program is static, because it starts before everything else in the
  # system.
  allowedReferences = [ ];

  meta = {
    description = "PID 1 of a NixOS container: console, mounts, configuration, health";
    mainProgram = "nixoci-init";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
