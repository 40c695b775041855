{
  # The values for the files that the engine mounts.
  configuration = {
    networking.hostName = "web";
    networking.domain = "example.org";
    networking.hosts."10.0.0.7" = [
      "db"
      "db.example.org"
    ];
    networking.extraHosts = "10.0.0.8 cache";
    networking.nameservers = [ "10.0.0.53" ];
    networking.search = [ "example.org" ];
  };
  expected.system.name = "web";
  expected.system.activationScripts.nixociNetwork.text =
    text:
    builtins.all (part: builtins.match ".*${part}.*" (builtins.replaceStrings [ "\n" ] [ " " ] text) != null) [
      "10\\.0\\.0\\.7 db db\\.example\\.org"
      "10\\.0\\.0\\.8 cache"
      "127\\.0\\.0\\.2 web\\.example\\.org web"
      "nameserver 10\\.0\\.0\\.53"
      "--hostname web"
    ];
}
