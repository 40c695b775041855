{
  configuration = {
    services.home-assistant = {
      enable = true;
      extraComponents = [
        "met"
        "mqtt"
      ];
      config = {
        default_config = { };
        homeassistant.name = "Home";
      };
    };
    services.zigbee2mqtt.enable = true;
    services.zigbee2mqtt.settings.serial.port = "/dev/ttyACM0";
    services.esphome.enable = true;
    services.node-red.enable = true;
    services.udev.extraRules = ''
      SUBSYSTEM=="tty", ATTRS{idVendor}=="10c4", SYMLINK+="zigbee"
    '';
  };
}
