{
  configuration.services.mosquitto = {
    enable = true;
    listeners = [
      {
        address = "0.0.0.0";
        port = 1883;
        users.sensor = {
          acl = [ "write home/#" ];
          hashedPasswordFile = "/run/secrets/mosquitto";
        };
      }
    ];
  };
}
