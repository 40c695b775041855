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
  # make vendor-hash updates this.
  vendorHash = "sha256-soaHOCoHe0Wro2XdHJViAxIjkR4oTrsA/omXC7p7xdI=";
  subPackages = [ "cmd/nixoci" ];
  nativeBuildInputs = [ installShellFiles ];
  # This is not in env: until 24.11, buildGoModule sets CGO_ENABLED outside of
  # env, and setting both does not evaluate.
  preBuild = ''
    export CGO_ENABLED=0
  '';
  ldflags = [
    "-s"
    "-w"
  ];
  # nixoci itself writes the completions and the man pages.
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
