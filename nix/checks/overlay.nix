{
  configuration = {
    nixpkgs.config.allowUnfree = true;
    nixpkgs.overlays = [
      (final: prev: {
        hello = prev.hello.overrideAttrs { pname = "hello-own"; };
      })
    ];
    imports = [
      (
        { pkgs, ... }:
        {
          environment.systemPackages = [ pkgs.hello ];
        }
      )
    ];
  };
  expected.environment.systemPackages = builtins.any (p: p.pname or "" == "hello-own");
}
