# dockerTools manual, "Building a Docker image": buildImage with runAsRoot.
{ pkgs, image }:
image {
  name = "redis";
  tag = "latest";

  copyToRoot = pkgs.buildEnv {
    name = "image-root";
    paths = [ pkgs.redis ];
    pathsToLink = [ "/bin" ];
  };

  files = [ { path = "/data"; } ]; # runAsRoot = "mkdir -p /data"

  config = {
    Cmd = [ "/bin/redis-server" ];
    WorkingDir = "/data";
    Volumes = {
      "/data" = { };
    };
  };
}
