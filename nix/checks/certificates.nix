{
  configuration =
    { pkgs, ... }:
    {
      services.step-ca = {
        enable = true;
        address = "0.0.0.0";
        port = 8443;
        intermediatePasswordFile = "/run/secrets/step-ca";
        settings = {
          dnsNames = [ "ca.example.org" ];
          root = "/var/lib/step-ca/root.crt";
          crt = "/var/lib/step-ca/intermediate.crt";
          key = "/var/lib/step-ca/intermediate.key";
          db = {
            type = "badgerv2";
            dataSource = "/var/lib/step-ca/db";
          };
        };
      };
      services.openbao = {
        enable = true;
        settings = {
          ui = true;
          listener.default = {
            type = "tcp";
            address = "0.0.0.0:8200";
            tls_disable = true;
          };
          storage.file.path = "/var/lib/openbao";
        };
      };
      security.pki.certificates = [
        ''
          -----BEGIN CERTIFICATE-----
          MIIB
          -----END CERTIFICATE-----
        ''
      ];
      security.krb5.enable = true;
      security.krb5.settings.libdefaults.default_realm = "EXAMPLE.ORG";
      environment.systemPackages = [ pkgs.openssl ];
    };
  nixpkgs = "25.05"; # openbao
}
