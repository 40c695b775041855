# nix2container/examples/uwsgi: a Python program. Its Python environment is a layer.
{ pkgs, image }:
let
  python = pkgs.python3;
  uwsgi = pkgs.uwsgi.override {
    python3 = python;
    plugins = [ "python3" ];
  };
  pythonEnv = python.withPackages (p: [ p.flask ]);
in
image {
  name = "uwsgi";
  config = {
    entrypoint = [
      "${uwsgi}/bin/uwsgi"
      "--plugin=python3"
      "--http" ":9090"
      "-H" "${pythonEnv}"
      "--callable" "app"
      "--wsgi-file" ./hello.py
    ];
  };
  # With these layers, a change of hello.py does not rebuild or push uwsgi and
  # pythonEnv again.
  layers = [
    { deps = [ uwsgi pythonEnv ]; }
  ];
}
