{
  base = false;
  configuration =
    { modulesPath, ... }:
    {
      imports = [ (modulesPath + "/profiles/headless.nix") ];
    };
}
