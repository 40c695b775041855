#!/bin/sh
# Evaluates nix/ with complete nixpkgs, for both systems, and builds nothing:
#
#   nix/check.sh [NIXPKGS...]
#
# NIXPKGS is a directory; the default is <nixpkgs>. The script needs no network
# and does not change the machine's store. It evaluates the flake's packages and
# base systems, what push and /config make from a configuration
# (nix/checks/lib/flake.nix), and the configurations in nix/checks/.
#
# Each must give a system without failed assertions and without unexpected
# warnings of the module. The system must have the values that the check expects,
# and follow the rules for every container (nix/checks/lib/invariants.nix).
#
#   NIX     the nix to use (2.18 or later for today's nixpkgs)
#   JOBS    number of parallel evaluations (default: number of processors)
#   CHECKS  names of checks (default: all)
#   SYSTEMS systems (default: x86_64-linux and aarch64-linux; flake-* ignore it)
#   FLAKE_PARTS  source of flake-parts for flake-flakeModule (default: a stand-in)
#
# For each check the script prints the processor time and the memory of the
# evaluation for both systems. Without GNU time, the memory is only Nix's heap.
# Warnings of NixOS itself are shown, but are not a fault.
set -eu
dir=$(cd "$(dirname "$0")" && pwd)
nix=${NIX:-nix}
systems=${SYSTEMS:-x86_64-linux aarch64-linux}
jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN)}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

# Enable experimental features here, so that the user need not set them.
export NIX_CONFIG="extra-experimental-features = nix-command flakes
warn-dirty = false"
time=$(command -v time) && "$time" -f %M true >/dev/null 2>&1 || time=
evaluate() {
  "$nix" eval --store dummy:// --read-only --offline --impure --expr "$@"
}
evaluate 'true' >/dev/null || { echo "nix/check.sh: $nix cannot evaluate; set NIX to another (2.18 or later)" >&2; exit 1; }

[ $# -gt 0 ] || set -- "$(evaluate '<nixpkgs>' 2>/dev/null)" || { echo "usage: nix/check.sh NIXPKGS..." >&2; exit 2; }

# one NIXPKGS NAME: evaluates a check. Prints a line, and the faults.
one() {
  nixpkgs=$1 name=$2 out=$tmp/$2
  case $name in
    flake-*) call="(import $dir/checks/lib/flake.nix { nixpkgs = $nixpkgs;${FLAKE_PARTS:+ flakeParts = $FLAKE_PARTS;} }).${name#flake-}" ;;
    *) call="import $dir/checks/lib/check.nix { nixpkgs = $nixpkgs; check = $dir/checks/$name.nix; systems = [ $(printf '"%s" ' $systems) ]; }" ;;
  esac
  # The result of a check lists the faults, by system.
  lines='answers: builtins.concatStringsSep "" (builtins.concatMap (system:
    let a = answers.${system}; line = kind: text: "${kind} ${system}: ${builtins.replaceStrings [ "\n" ] [ " " ] text}\n"; in
    [ (line "system" a.drvPath) ] ++ map (line "wrong") (a.wrong or [ ]) ++ map (line "warns") (a.warnings or [ ])
  ) (builtins.attrNames answers))'
  if NIX_SHOW_STATS=1 NIX_SHOW_STATS_PATH=$out.stats ${time:+"$time" -o "$out.memory" -f %M} \
    "$nix" eval --store dummy:// --read-only --offline --impure --expr "($lines) ($call)" --raw >"$out.out" 2>"$out.err"; then
    result=ok
    ! grep -q '^wrong ' "$out.out" || result=WRONG
    [ -s "$out.out" ] || result='skipped, since this nixpkgs is too old'
  else
    result=FAILED
  fi
  seconds=$(sed -n 's/.*"cpuTime": *\([0-9]*\.[0-9]\).*/\1/p' "$out.stats" 2>/dev/null || :)
  memory=$(sed -n 's/.*"heapSize": *\([0-9]*\)[0-9]\{3\}.*/\1/p' "$out.stats" 2>/dev/null || :)
  [ -z "$time" ] || memory=$(tail -n 1 "$out.memory")
  {
    printf '%-28s %6s s %5s MB  %s\n' "$name" "${seconds:--}" "$((${memory:-0} / 1000))" "$result"
    sed -n 's/^\(wrong\|warns\) /    \1 /p' "$out.out"
    case $result in
      ok) sed -n 's/^evaluation warning:/    says/p' "$out.err" ;;
      FAILED) sed 's/^/    /' "$out.err" | tail -n 25 ;;
    esac
  } >"$out.report"
  cat "$out.report"
  case $result in ok | skipped*) ;; *) echo "$name" >>"$tmp/failed" ;; esac
}

if [ -n "${NIXOCI_CHECK_ONE:-}" ]; then
  tmp=$NIXOCI_CHECK_ONE
  trap - EXIT
  one "$1" "$2"
  exit
fi

names=${CHECKS:-flake-packages flake-image flake-meta flake-examples flake-ownImage flake-checks flake-flakeModule flake-variant flake-bases flake-baked flake-extended flake-host flake-file $(cd "$dir/checks" && for f in *.nix; do echo "${f%.nix}"; done)}
failed=
for nixpkgs; do
  nixpkgs=$(cd "$nixpkgs" && pwd)
  echo "== $nixpkgs ($(cat "$nixpkgs/lib/.version" 2>/dev/null || cat "$nixpkgs/.version")), $("$nix" --version)"
  : >"$tmp/failed"
  printf '%s\n' $names | NIXOCI_CHECK_ONE=$tmp xargs -P "$jobs" -I NAME sh "$dir/check.sh" "$nixpkgs" NAME
  count=$(printf '%s\n' $names | wc -l)
  wrong=$(wc -l <"$tmp/failed")
  echo "$((count - wrong)) of $count evaluate as they should"
  [ "$wrong" = 0 ] || failed="$failed $nixpkgs: $(sort "$tmp/failed" | tr '\n' ' ')"
done
[ -z "$failed" ] || { echo "nix/check.sh: failed with$failed" >&2; exit 1; }
