{
  configuration = {
    services.resolved.enable = true;
    networking.nameservers = [ "9.9.9.9" ];
  };
  # resolved gets the servers, and /etc/resolv.conf stays as the engine made it.
  expected.networking.useHostResolvConf = false;
  expected.system.activationScripts.nixociNetwork.text =
    text: builtins.match ".*9\\.9\\.9\\.9.*" text == null;
}
