{
  configuration = {
    services.clickhouse.enable = true;
    services.influxdb2.enable = true;
    services.metabase.enable = true;
    services.apache-kafka = {
      enable = true;
      clusterId = "kB8xRkyVQTmWbLuvHnG8vA";
      formatLogDirs = true;
      settings = {
        listeners = [
          "PLAINTEXT://:9092"
          "CONTROLLER://:9093"
        ];
        "listener.security.protocol.map" = [
          "PLAINTEXT:PLAINTEXT"
          "CONTROLLER:PLAINTEXT"
        ];
        "controller.quorum.voters" = [ "1@127.0.0.1:9093" ];
        "controller.listener.names" = [ "CONTROLLER" ];
        "process.roles" = [
          "broker"
          "controller"
        ];
        "node.id" = 1;
        "broker.id" = 1;
        "log.dirs" = [ "/var/lib/kafka" ];
      };
    };
    systemd.services.apache-kafka.serviceConfig.StateDirectory = "kafka";
  };
}
