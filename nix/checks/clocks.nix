{
  # The clock belongs to the host. Units that set it run only if the container
  # may set it.
  configuration.services.openntpd.enable = true;
}
