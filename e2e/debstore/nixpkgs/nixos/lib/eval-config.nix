{
  system ? null,
  modules,
  specialArgs ? { },
}:
(import ../../lib).evalModules {
  modules =
    import ../modules
    ++ modules
    ++ (
      if system == null then
        [ ]
      else
        [ ({ lib, ... }: { nixpkgs.hostPlatform = lib.mkDefault system; }) ]
    );
  inherit specialArgs;
}
