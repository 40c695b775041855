{
  # vm.overcommit_memory is the host's: the module of redis sets it, this one
  # leaves it out without a warning, since the configuration did not ask for it.
  configuration.services.redis.servers.cache = {
    enable = true;
    port = 6379;
  };
  expected.boot.kernel.sysctl = sysctl: !(sysctl ? "vm.overcommit_memory");
}
