{
  configuration =
    { pkgs, ... }:
    {
      virtualisation.docker.enable = true;
      virtualisation.docker.autoPrune.enable = true;
      virtualisation.oci-containers.backend = "docker";
      virtualisation.oci-containers.containers.web.image = "nginx:1";
    };
}
