{
  # The clock is the host's: what sets it is tried where the container may.
  configuration.services.openntpd.enable = true;
}
