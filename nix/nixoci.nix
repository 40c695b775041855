{
  lib,
  stdenv,
  installShellFiles,
  buildGoModule,
  buildGo126Module ? buildGoModule,
}:

buildGo126Module {
  pname = "nixoci";
  version = "0.1.0";
  src = lib.cleanSource ../.;
  # make vendor-hash brings it up to date.
  vendorHash = "sha256-K/0uz3f5KN7doHicJXOav0V78QbdXgBDq+bJFuWmnAE=";
  subPackages = [ "cmd/nixoci" ];
  nativeBuildInputs = [ installShellFiles ];
  # Not in env: until 24.11, buildGoModule passes CGO_ENABLED outside of it, and
  # both at once do not evaluate.
  preBuild = ''
    export CGO_ENABLED=0
  '';
  ldflags = [
    "-s"
    "-w"
  ];
  # The program writes them itself.
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    for shell in bash fish zsh; do
      $out/bin/nixoci completion $shell >nixoci.$shell
    done
    installShellCompletion nixoci.{bash,fish,zsh}
    $out/bin/nixoci docs man man
    installManPage man/*
  '';
  meta = {
    description = "Turns the closure of a NixOS system into a container image and pushes it";
    homepage = "https://github.com/nixoci/nixoci";
    license = lib.licenses.mit;
    mainProgram = "nixoci";
  };
}
