{
  # vm.overcommit_memory belongs to the host. NixOS's redis module sets it.
  # nixoci's module leaves it out, without a warning, because the configuration
  # did not ask for it.
  configuration.services.redis.servers.cache = {
    enable = true;
    port = 6379;
  };
  expected.boot.kernel.sysctl = sysctl: !(sysctl ? "vm.overcommit_memory");
}
