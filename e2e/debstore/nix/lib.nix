# Generated store paths, as NixOS makes them.
{ system, path ? "/usr/bin:/bin" }:
rec {
  run = name: env: script: derivation (env // {
    inherit name system;
    builder = "/bin/sh";
    args = [ "-c" ("set -eu; umask 022; export PATH=${path} LC_ALL=C\n" + script + "\n:\n") ];
  });

  # One file, at the store path itself (writeText), or in it.
  text = name: content: run name { inherit content; passAsFile = [ "content" ]; } ''cp "$contentPath" "$out"'';
  script = name: content: run name { inherit content; passAsFile = [ "content" ]; } ''
    cp "$contentPath" "$out"; chmod +x "$out"'';
  file = name: place: content: run name { inherit content place; passAsFile = [ "content" ]; } ''
    mkdir -p "$out/$(dirname "$place")"; cp "$contentPath" "$out/$place"'';
  executable = name: place: content: run name { inherit content place; passAsFile = [ "content" ]; } ''
    mkdir -p "$out/$(dirname "$place")"; cp "$contentPath" "$out/$place"; chmod +x "$out/$place"'';

  # systemd.units.<name>: a directory with one file.
  unit = name: content: file "unit-${name}" name content;

  # system.path: symlinks to the programs and manuals of packages.
  systemPath = packages: run "system-path" { inherit packages; } ''
    mkdir -p "$out/bin" "$out/share"
    for p in $packages; do
      for dir in bin sbin usr/bin usr/sbin; do
        [ -d "$p/$dir" ] || continue
        for f in "$p/$dir"/*; do
          [ -e "$out/bin/$(basename "$f")" ] || ln -sf "$f" "$out/bin/"
        done
      done
    done
    ln -s bin "$out/sbin"'';

  # environment.etc: name -> store path, as symlinks below etc/.
  etc = entries: run "etc" {
    names = builtins.attrNames entries;
    targets = builtins.attrValues entries;
  } ''
    set -f
    mkdir -p "$out/etc"
    set -- $targets
    for name in $names; do
      mkdir -p "$out/etc/$(dirname "$name")"
      ln -s "$1" "$out/etc/$name"
      shift
    done'';
}
