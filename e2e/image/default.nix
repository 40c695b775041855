# Makes an image of one program and a page with nix/image.nix. pkgs is a small
# replacement that has only what image.nix needs. Its builders use programs of the
# host.
{ program, nixoci, name, image, lib }:
let
  system = "x86_64-linux";
  file = name: place: text: derivation {
    inherit name system text place;
    builder = "/bin/sh";
    passAsFile = [ "text" ];
    args = [
      "-c"
      ''
        PATH=/usr/bin:/bin
        [ -z "$place" ] || mkdir -p "$out/$(dirname "$place")"
        cp "$textPath" "$out''${place:+/$place}"
        [ -z "$place" ] || chmod +x "$out/$place"''
    ];
  };
  copy = name: from: derivation {
    inherit name system from;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/usr/bin:/bin; mkdir -p $out/bin; cp $from $out/bin/${name}" ];
  };
  busybox = copy "busybox" program // { meta.mainProgram = "busybox"; };
  page = file "page" "" "hello from a page\n";
in
{
  image = import (/. + image) {
    nixoci = copy "nixoci" nixoci;
    pkgs = {
      # The lib of e2e/debstore has only what NixOS modules need. image.nix also
      # needs toLower.
      lib = import (/. + lib) // {
        toLower =
          builtins.replaceStrings
            [ "A" "B" "C" "D" "E" "F" "G" "H" "I" "J" "K" "L" "M" "N" "O" "P" "Q" "R" "S" "T" "U" "V" "W" "X" "Y" "Z" ]
            [ "a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n" "o" "p" "q" "r" "s" "t" "u" "v" "w" "x" "y" "z" ];
      };
      stdenv.hostPlatform.system = system;
      writeText = name: file name "";
      writeShellScriptBin = name: text: file name "bin/${name}" "#!/bin/bash\n${text}";
    };
  } {
    inherit name;
    tag = "1";
    contents = [ busybox ];
    config = {
      Cmd = [ "cat" "${page}" ];
      Env = [ "GREETING=a=b" ];
      User = "app";
      ExposedPorts."8080/tcp" = { };
    };
    users = [ { name = "app"; uid = 1000; } ];
    links = [ "/bin" ];
    maxLayers = 5;
  };
}
