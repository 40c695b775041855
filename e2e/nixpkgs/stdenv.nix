# Replaces pkgs/stdenv/default.nix with two stages instead of the bootstrap. The
# first stage consists of Debian's tools. Nothing is downloaded and nothing is
# compiled.
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
    # Until 25.11 this was a single set of arguments.
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
      # Only used during evaluation: a download shows which package is missing
      # among Debian's.
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
