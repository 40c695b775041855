# Takes the place of pkgs/stdenv/default.nix: two stages, the first of Debian's
# tools, in place of the bootstrap. Nothing is downloaded and nothing is compiled.
{
  lib,
  localSystem,
  crossSystem,
  config,
  overlays,
  crossOverlays,
}:

assert crossSystem == localSystem;

let
  debian = import ../../debian { inherit lib; inherit (localSystem) system; };
  generic = import ./generic;
  make =
    args:
    # Until 25.11 all of it was one set of arguments.
    if builtins.functionArgs generic ? defaultConfig then
      generic { defaultConfig = config; } args
    else
      generic (args // { inherit config; });
  fetchurl =
    let
      f = import ../build-support/fetchurl;
    in
    f (
      builtins.intersectAttrs (builtins.functionArgs f) {
        inherit lib;
        stdenvNoCC = stdenv;
        curl = null;
        hashedMirrors = [ ];
        rewriteURL = url: url;
      }
    );
  stdenv = make {
      name = "stdenv-debian";
      buildPlatform = localSystem;
      hostPlatform = localSystem;
      targetPlatform = localSystem;
      preHook = ''
        export NIX_ENFORCE_PURITY= NIX_ENFORCE_NO_NATIVE="''${NIX_ENFORCE_NO_NATIVE-1}"
      '';
      initialPath = debian.tools;
      shell = "${debian.packages.bash}/bin/bash";
      cc = debian.cc;
      # For evaluation alone: what it fetches shows what is missing among Debian's packages.
      fetchurlBoot = fetchurl;
    };
in
[
  (
    { }:
    {
      __raw = true;
      inherit stdenv;
    }
  )
  (prevStage: {
    inherit config;
    overlays = [ debian.overlay ] ++ overlays;
    inherit stdenv;
  })
]
