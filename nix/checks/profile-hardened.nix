{
  base = false;
  # It sets much of the kernel, which is the host's.
  configuration =
    { modulesPath, ... }:
    {
      imports = [ (modulesPath + "/profiles/hardened.nix") ];
    };
}
