# dockerTools manual, "Using dockerTools.shadowSetup": a system user that owns a
# directory.
{ pkgs, image }:
image {
  name = "shadow-basic";
  tag = "latest";

  copyToRoot = [ pkgs.hello ]; # contents

  # shadowSetup; groupadd -r hello; useradd -r -g hello hello
  users = [ { name = "hello"; uid = 999; } ];
  # mkdir /data; chown hello:hello /data
  files = [ { path = "/data"; uid = 999; gid = 999; } ];

  config = {
    Cmd = [ "/bin/hello" ];
    WorkingDir = "/data";
  };
}
