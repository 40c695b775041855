# The base system of nixoci: the smallest system that runs systemd and Nix.
{ lib, ... }:

{
  nixoci.minimal = lib.mkOverride 900 true;
}
