# nix2container/examples/hello.nix: the dependencies get a separate layer. nixoci
# divides an image into layers by itself. With layers, you choose them yourself.
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
