# Returns the derivations that nixoci builds for a CLOSURE. `nix eval --apply`
# calls this function with the value that the CLOSURE names.
#
#   systems  systems to build for; if empty, the system that the configuration declares
#   modules  more modules, for a configuration
#
# A NixOS configuration becomes a container, for each of the systems. A
# derivation, such as a package or a configuration's
# config.system.build.toplevel, is not changed. The result contains the system of
# each derivation.
{
  systems ? [ ],
  modules ? [ ],
}:
given:

let
  # The result runs on system, and Nix builds it on buildSystem.
  derivation = system: drv: {
    inherit system;
    inherit (drv) drvPath;
    buildSystem = drv.system;
    # If there are several outputs, take the one that "${drv}" means.
    output = if builtins.length (drv.outputs or [ ]) > 1 then drv.outputName or "out" else null;
    program = drv.meta.mainProgram or null;
  };
  own = given.pkgs.stdenv.hostPlatform.system;
  container =
    system:
    let
      extended = import ./eval.nix {
        inherit system modules;
        configurations.default = given;
      };
      is = extended.pkgs.stdenv.hostPlatform.system;
    in
    if is == system then
      derivation system extended.config.system.build.toplevel
    else
      throw "the configuration is for ${is} whatever nixpkgs.hostPlatform says, as with nixpkgs.pkgs: it cannot be built for ${system}";
in

if given ? extendModules then
  map container (if systems == [ ] then [ own ] else systems)
else if (given.type or null) == "derivation" then
  [ (derivation (given.stdenv.hostPlatform.system or given.system) given) ]
else
  throw "it is neither a NixOS configuration nor a package"
