# dockerTools.examples.layeredImageWithFakeRootCommands: a directory of a user.
{ pkgs, image }:
image {
  name = "layered-image-with-fake-root-commands";
  tag = "latest";
  copyToRoot = [ pkgs.pkgsStatic.busybox ]; # contents
  # fakeRootCommands: mkdir -p ./home/alice; chown 1000 ./home/alice; ln -s ${pkgs.hello} ./hello
  files = [
    { path = "/home/alice"; uid = 1000; }
    { path = "/hello"; target = "${pkgs.hello}"; }
  ];
  config.Cmd = [ "sh" ];
}
