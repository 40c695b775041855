#!/bin/sh
# demo.sh NIXOCI: pushes a small real NixOS system for two platforms to a
# registry on this machine, and verifies the result. It needs only the program.
set -eu

nixoci=${1:?usage: demo.sh path/to/nixoci}
nixoci=$(cd "$(dirname "$nixoci")" && pwd)/$(basename "$nixoci")
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
server=
cleanup() {
	status=$?
	trap - EXIT INT TERM
	[ -z "$server" ] || kill "$server" 2>/dev/null || :
	[ -z "$server" ] || wait "$server" 2>/dev/null || :
	rm -rf "$tmp"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Ignore the caches and the configuration of this machine.
export XDG_CACHE_HOME="$tmp/cache" DOCKER_CONFIG="$tmp/docker"
unset SOURCE_DATE_EPOCH

fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}
row() { printf '%-9s  %s\n' "$@"; }

# toplevel NAME: prints the store path of a system in systems.json
toplevel() {
	path=$(sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$here/systems.json")
	[ -n "$path" ] || fail "no $1 in systems.json"
	printf '%s\n' "$path"
}

# summary FILE: prints the last line, which summarises a push
summary() { sed -n '$p' "$1"; }

# push REF SUFFIX [FLAG...]: pushes both platforms of the sample system. Sets
# $pushed to the reference with its digest. The log is in $tmp/log.
push() {
	ref=$1 suffix=$2
	shift 2
	pushed=$("$nixoci" push "$ref" "$@" \
		--from "file://$here/cache" --trusted-public-key "$(cat "$here/public-key")" \
		"x86_64-linux=$(toplevel "sample-x86_64-linux$suffix")" \
		"aarch64-linux=$(toplevel "sample-aarch64-linux$suffix")" 2>"$tmp/log") || {
		cat "$tmp/log" >&2
		fail "push $ref failed"
	}
}

"$nixoci" serve --listen 127.0.0.1:0 >"$tmp/address" 2>"$tmp/server.log" &
server=$!
tries=0
while [ ! -s "$tmp/address" ]; do
	kill -0 "$server" 2>/dev/null || { cat "$tmp/server.log" >&2; fail "the registry did not start"; }
	tries=$((tries + 1))
	[ "$tries" -lt 200 ] || fail "the registry gave no address"
	sleep 0.1 2>/dev/null || sleep 1
done
registry=$(cat "$tmp/address")
row registry "$registry, in memory"
row source "testdata/cache, a signed binary cache; no Nix, no /nix/store, no Docker"

push "$registry/demo/sample:1" ""
first=${pushed#*@}
row push "$(summary "$tmp/log")"
row "" "$first"

push "$registry/demo/sample:1" "" --json
requests=$(printf '%s\n' "$pushed" | sed -n 's/.*"requests": *\([0-9]*\).*/\1/p')
# One request for the tag, two for manifests, and two for random layers.
[ "$requests" = 5 ] || fail "pushing what is there took $requests requests, not 5: $pushed"
row again "$(summary "$tmp/log")"

# verify REF SUFFIX: checks every digest and every narHash, and makes the image
# again from both closures. The report is in $tmp/report.
verify() {
	ref=$1 suffix=$2
	"$nixoci" verify "$ref" \
		--from "file://$here/cache" --trusted-public-key "$(cat "$here/public-key")" \
		"x86_64-linux=$(toplevel "sample-x86_64-linux$suffix")" \
		"aarch64-linux=$(toplevel "sample-aarch64-linux$suffix")" >"$tmp/report" || {
		cat "$tmp/report" >&2
		fail "verify $ref failed"
	}
	grep -q '^verified: ' "$tmp/report" || fail "verify $ref does not say that it verified"
}
verify "$registry/demo/sample:1@$first" ""
row verify "every digest, every narHash, and all of it made again:"
sed -e '/^$/d' -e 's/^/           /' "$tmp/report"

push "$registry/demo/elsewhere:1" "" --reuse none --jobs 1
[ "${pushed#*@}" = "$first" ] || fail "made again it is ${pushed#*@}, not $first"
row afresh "$(summary "$tmp/log")"
row "" "the same digest, with one compressor and without a cache"

push "$registry/demo/sample:1" -update
[ "${pushed#*@}" != "$first" ] || fail "the update has the digest of what it updates"
row update "$(summary "$tmp/log")"
verify "$registry/demo/sample:1" "-update"
row verify "$(grep -c '^  . narhashes' "$tmp/report") platforms, made again: $(sed -n '$p' "$tmp/report")"
