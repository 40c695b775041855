# Options that NixOS has removed, without a current module that could report
# this.
{ lib, ... }:
{
  imports = [
    (lib.mkRemovedOptionModule [ "environment" "noXlibs" ] ''
      The environment.noXlibs option was removed, as it often caused surprising breakages for new users.
    '')
    (lib.mkRemovedOptionModule [
      "environment"
      "blcr"
      "enable"
    ] "The BLCR module has been removed")
    (lib.mkRenamedOptionModule [ "fonts" "fonts" ] [ "fonts" "packages" ])
  ];
}
