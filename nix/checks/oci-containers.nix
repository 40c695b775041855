{
  configuration = {
    virtualisation.oci-containers.backend = "podman";
    virtualisation.oci-containers.containers.web = {
      image = "docker.io/library/nginx:stable";
      ports = [ "8080:80" ];
      volumes = [ "/srv/web:/usr/share/nginx/html:ro" ];
      environment.TZ = "Europe/Berlin";
    };
    virtualisation.containers.registries.search = [ "docker.io" ];
  };
}
