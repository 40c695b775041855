{
  # If a configuration sets something of the host, a warning says so.
  configuration.boot.kernel.sysctl = {
    "vm.max_map_count" = 262144;
    "net.core.somaxconn" = 1024;
    "kernel.shmmax" = 1073741824;
  };
  warnings = [ "vm.max_map_count would change the kernel of the host" ];
  expected.boot.kernel.sysctl."net.core.somaxconn" = 1024;
  expected.boot.kernel.sysctl."kernel.shmmax" = 1073741824;
}
