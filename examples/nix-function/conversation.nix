# nix2container/examples/hello.nix: dependencies in a layer of their own. nixoci
# divides an image into layers by itself; this is for who knows better.
{ pkgs, image }:
let
  application = pkgs.writeScript "conversation" ''
    ${pkgs.hello}/bin/hello
    echo "Haaa aa... I'm dying!!!"
  '';
in
image {
  name = "hello";
  config = {
    entrypoint = [ "${pkgs.bash}/bin/bash" application ];
  };
  layers = [
    { deps = [ pkgs.bash pkgs.hello ]; }
  ];
}
