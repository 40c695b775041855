# Builds one package: links the files of Debian packages ($debs, store paths) to
# the places that nixpkgs uses.
set -eu
export PATH=$coreutils/usr/bin:$sed/usr/bin LC_ALL=C
mkdir -p "$out"
into() { # from, to
  [ -d "$1" ] || return 0
  mkdir -p "$2"
  cp -rs --update=none --no-preserve=mode "$1/." "$2/"
}
for p in $debs; do
  for d in bin sbin usr/bin usr/sbin; do into "$p/$d" "$out/bin"; done
  for d in "lib/$triplet" "usr/lib/$triplet" lib usr/lib; do
    [ -d "$p/$d" ] || continue
    for f in "$p/$d"/*; do
      n=${f##*/}
      [ "$n" != "$triplet" ] || continue
      if [ -d "$f" ] && [ ! -L "$f" ]; then into "$f" "$out/lib/$n"; else
        mkdir -p "$out/lib"
        [ -e "$out/lib/$n" ] || [ -L "$out/lib/$n" ] || ln -s "$f" "$out/lib/$n"
      fi
    done
  done
  for d in share libexec include; do into "$p/usr/$d" "$out/$d"; done
  into "$p/etc" "$out/etc"
done
[ ! -d "$out/bin" ] || ln -s bin "$out/sbin"
# Units name programs by their place in Debian. Replace it.
for f in "$out"/lib/systemd/system/* "$out"/lib/systemd/user/*; do
  [ -f "$f" ] || continue
  case $(readlink "$f") in */*) ;; *) continue ;; esac
  sed "s,/usr/lib/,$out/lib/,g; s,/usr/s\?bin/,$out/bin/,g" "$f" >"$f.new"
  mv "$f.new" "$f"
done
[ -z "${more-}" ] || eval "$more"
# Nix kills the builder when its log pipe closes. So the last command must be
# one of the shell.
:
