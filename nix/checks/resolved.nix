{
  configuration = {
    services.resolved.enable = true;
    networking.nameservers = [ "9.9.9.9" ];
  };
  # resolved has the servers; /etc/resolv.conf stays the engine's.
  expected.networking.useHostResolvConf = false;
  expected.system.activationScripts.nixociNetwork.text =
    text: builtins.match ".*9\\.9\\.9\\.9.*" text == null;
}
