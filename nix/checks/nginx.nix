{
  configuration = import ../../examples/web/nginx.nix;
  expected.systemd.services.nginx.wantedBy = [ "multi-user.target" ];
}
