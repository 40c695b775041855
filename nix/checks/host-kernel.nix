{
  # Options other than sysctl that would change the kernel, which all containers
  # share.
  base = false;
  configuration =
    { pkgs, ... }:
    {
      boot.binfmt.emulatedSystems = [
        (if pkgs.stdenv.hostPlatform.isx86_64 then "aarch64-linux" else "riscv64-linux")
      ];
      boot.kernel.sysfs.kernel.mm.transparent_hugepage.enabled = "always";
      boot.modprobeConfig.enable = true;
      hardware.ksm.enable = true;
      security.lockKernelModules = true;
    };
  warnings = [
    "boot.binfmt"
    "boot.kernel.sysfs"
    "hardware.ksm.enable"
  ];
  expected.system.activationScripts = scripts: !scripts ? modprobe;
  nixpkgs = "25.11"; # boot.kernel.sysfs
}
