#!/bin/bash
# Makes the samples in this directory with real Nix. Those in git were made with
# Debian's nix-bin 2.8.0. The script needs root, because it mounts a new /nix in
# a mount namespace.
set -eu
cd "$(dirname "$0")"
[ "${1-}" = inside ] || exec unshare -m "./${0##*/}" inside

work=$(mktemp -d)
trap 'umount -l /nix; rm -rf "$work"' EXIT
mkdir -p "$work/nix" "$work/home" /nix
mount --make-rprivate /
mount --bind "$work/nix" /nix
export HOME=$work/home USER=root
export NIX_CONFIG=$'experimental-features = nix-command\nsandbox = false\nbuild-users-group =\nsubstituters ='

# This tree contains everything that a NAR can hold. The order of some names
# depends on whether directories sort as "a" or as "a/".
tree=$work/tree
mkdir -p "$tree/a/b" "$tree/empty"
echo hello > "$tree/a/b/x"
echo 1 > "$tree/a.txt"
echo 2 > "$tree/a-b"
: > "$tree/zero"
printf '#!/bin/sh\necho hi\n' > "$tree/run"
chmod 755 "$tree/run"
ln -s a/b/x "$tree/link"
seq 1 14000 > "$tree/large"
t=$(nix-store --add "$tree")
flat=$(nix-store --add-fixed sha512 "$tree/large")

cat > "$work/x.nix" <<E
let
  mk = name: refs: derivation {
    inherit name refs;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    PATH = "/bin:/usr/bin";
    args = [ "-c" ''
      mkdir \$out; for r in \$refs \$out; do echo \$r >> \$out/refs; done
      ln -s \$out \$out/self; printf x86_64-linux > \$out/system; : '' ];
  };
  a = mk "a" [ ];
  b = mk "b" [ a ];
  c = mk "c" [ a b ];
  text = builtins.toFile "text" "refers to \${builtins.storePath "$t"}\n";
in mk "nixos-system-test-26.05" [ a b c text (builtins.storePath "$t") (builtins.storePath "$flat") ]
E
top=$(nix-build "$work/x.nix" --no-out-link)

rm -rf cache graph db.sqlite key.pub toplevel
echo "$top" > toplevel
nix-store --generate-binary-cache-key nixoci-test-1 "$work/key" key.pub
for c in xz zstd gzip br bzip2 none; do
	nix copy --to "file://$PWD/cache/$c?compression=$c&secret-key=$work/key" "$top"
	rm -rf "cache/$c/log" "cache/$c/realisations"
done
mkdir graph
nix path-info --json -r "$top" > graph/nix-2.8.json
sqlite3 /nix/var/nix/db/db.sqlite 'pragma wal_checkpoint(truncate)' > /dev/null
sqlite3 /nix/var/nix/db/db.sqlite "vacuum into '$PWD/db.sqlite'"
sqlite3 db.sqlite 'pragma journal_mode = wal' > /dev/null
