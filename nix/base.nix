# The system that nixoci ships: as little as runs systemd and Nix.
{ lib, ... }:

{
  nixoci.minimal = lib.mkOverride 900 true;
}
