{
  configuration.services = {
    postfix.enable = true;
    rspamd.enable = true;
  };
}
