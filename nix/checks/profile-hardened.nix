{
  base = false;
  # The profile sets many options of the kernel, which belongs to the host.
  configuration =
    { modulesPath, ... }:
    {
      imports = [ (modulesPath + "/profiles/hardened.nix") ];
    };
}
