# Builder of one package: $debs (file names under /nix/debs), $deps (store
# paths), $keep (tar patterns), $triplet, $libc (where the dynamic linker is, "" for
# libc itself).
set -eu
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
mkdir -p "$out"
for d in $debs; do
  if [ -n "$keep" ]; then
    set -f
    dpkg-deb --fsys-tarfile "/nix/debs/$d" | tar -x -C "$out" --wildcards $keep 2>/dev/null || :
    set +f
  else
    dpkg-deb -x "/nix/debs/$d" "$out"
  fi
done
[ -n "$(ls -A "$out")" ] || { echo "nothing unpacked from $debs"; exit 1; }
# Nix refuses set-user-ID bits, and a builder cannot walk what it cannot read.
chmod -R u+rwX,ug-s "$out"

libdirs() { # the directories of a package that hold shared libraries
  for dir in "$1/lib/$triplet" "$1/usr/lib/$triplet" "$1/lib" "$1/usr/lib"; do
    [ ! -d "$dir" ] || printf %s: "$dir"
  done
}

if [ -n "$libc" ]; then
  # From trixie on all of Debian is below /usr.
  for interpreter in "$libc/lib/$triplet"/ld-linux-*.so.* "$libc/usr/lib/$triplet"/ld-linux-*.so.*; do
    [ ! -e "$interpreter" ] || break
  done
  runpath=$(libdirs "$out"; libdirs "$libc"; for p in $deps; do libdirs "$p"; done)
  find "$out" -type f \( -perm -100 -o -name '*.so' -o -name '*.so.*' \) | sort | while read -r f; do
    own=$(patchelf --print-rpath "$f" 2>/dev/null) || continue
    if now=$(patchelf --print-interpreter "$f" 2>/dev/null); then
      [ "$now" != "$interpreter" ] || continue # another hard link to what was patched already
      patchelf --set-interpreter "$interpreter" "$f"
    fi
    # What the package set itself (systemd, PostgreSQL) is a place within it or its dependencies.
    private=
    if [ -n "$own" ]; then
      for dir in $(echo "$own" | tr : ' '); do
        for p in "$out" $deps; do [ ! -d "$p$dir" ] || private=$private$p$dir:; done
      done
    fi
    patchelf --set-rpath "$private$runpath" "$f" || { echo "patchelf: $f"; exit 1; }
    # What a program loads while it runs is not among its NEEDED; systemd's says so in a note.
    grep -aq '"soname":\[' "$f" || patchelf --shrink-rpath "$f" || { echo "patchelf: $f"; exit 1; }
  done
fi

for p in $deps; do
  for i in usr/bin/perl usr/bin/python3.11 usr/bin/python3 bin/bash usr/bin/bash; do
    [ -x "$p/$i" ] || continue
    for dir in bin sbin usr/bin usr/sbin; do
      [ ! -d "$out/$dir" ] || find "$out/$dir" -type f -exec sed -i "1s,^#! */$i\\b,#!$p/$i," {} +
    done
  done
done

mkdir -p "$out/nix-support"
echo $deps >"$out/nix-support/propagated-build-inputs"
[ -z "$rebuild" ] || echo "$rebuild" >"$out/nix-support/rebuild"
# Nix kills the builder when its log pipe closes: a shell must be what ends.
:
