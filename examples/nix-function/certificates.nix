# dockerTools manual, "Using dockerTools's environment helpers": the packages
# usrBinEnv, binSh, caCertificates and fakeNss are packages like others.
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
