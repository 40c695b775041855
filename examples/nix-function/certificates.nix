# dockerTools manual, "Using dockerTools's environment helpers". You can list
# usrBinEnv, binSh, caCertificates and fakeNss like all other packages.
{ pkgs, image }:
image {
  name = "env-helpers";
  tag = "latest";

  copyToRoot = with pkgs.dockerTools; [
    usrBinEnv
    binSh
    caCertificates
    fakeNss
  ];

  config.Cmd = [ "/bin/sh" ];
}
