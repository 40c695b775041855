[
  ./system.nix
  ./systemd.nix
  ./accepted.nix
  ./nginx.nix
]
