# nix2container/examples/nested.nix: layers in layers. The inner layers come first.
{ pkgs, image }:
image {
  name = "nested";
  config = {
    entrypoint = [ "/bin/bash" "-c" "${pkgs.hello}/bin/hello" ];
  };
  layers = [
    {
      deps = [ pkgs.bashInteractive ];
      copyToRoot = pkgs.buildEnv {
        name = "root";
        paths = [ pkgs.bashInteractive ];
        pathsToLink = [ "/bin" ];
      };
      layers = [
        { deps = [ pkgs.readline ]; }
      ];
    }
  ];
}
