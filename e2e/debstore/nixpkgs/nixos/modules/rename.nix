# Options that went away without a module of today to say so in.
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
