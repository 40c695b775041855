{
  base = false;
  configuration =
    { modulesPath, ... }:
    {
      imports = [ (modulesPath + "/virtualisation/lxc-container.nix") ];
    };
}
