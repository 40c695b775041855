{
  configuration.services = {
    mosquitto.enable = true;
    mosquitto.listeners = [ { port = 1883; } ];
    memcached.enable = true;
    nats.enable = true;
  };
}
