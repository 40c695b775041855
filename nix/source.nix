# The files of this repository that a container needs: those that evaluate a
# configuration, and the source of nixoci-init. Both always have the same store
# path, even if they are copied from a container.
{ lib }:

let
  root = toString ../.;
  files =
    name: patterns:
    builtins.path {
      inherit name;
      path = ../.;
      filter =
        file: _:
        let
          relative = lib.removePrefix (root + "/") file;
        in
        lib.any (pattern: builtins.match pattern relative != null) patterns
        && !lib.hasSuffix "_test.go" relative;
    };
  init = [
    "cmd"
    "cmd/nixoci-init"
    "cmd/nixoci-init/[^/]*\\.go"
    "internal"
    "internal/guest"
    "internal/guest/[^/]*\\.go"
  ];
in
{
  init = files "nixoci-init-source" init;
  module = files "nixoci-nix" (
    init
    ++ [
      "nix"
      "nix/[^/]*\\.nix"
    ]
  );
}
