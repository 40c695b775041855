{
  base = false;
  configuration =
    { modulesPath, ... }:
    {
      imports = [ (modulesPath + "/virtualisation/docker-image.nix") ];
    };
}
