{
  outputs =
    { self }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
    in
    {
      lib = import ./lib // {
        nixosSystem =
          args:
          import ./nixos/lib/eval-config.nix (
            {
              system = args.system or null;
              # Only a flake contains its version.
              modules = args.modules ++ [ { system.nixos.versionSuffix = ".debian12"; } ];
            }
          );
      };
      legacyPackages = (import ./lib).genAttrs systems (system: import ./. { inherit system; });
    };
}
