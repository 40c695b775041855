#!/bin/sh
# Renew docs/terminal.svg, the terminal in README.md: a real push, plan and verify
# of the sample system, against the registry of nixoci serve. Needs Go.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
tmp=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$tmp"' EXIT
CGO_ENABLED=0 ${GO:-go} build -o "$tmp/" ./cmd/nixoci ./docs/recording
export XDG_CACHE_HOME="$tmp/cache" DOCKER_CONFIG="$tmp/docker" NIX_CONF_DIR="$tmp" NIX_USER_CONF_FILES="$tmp/none"
NIX_CONFIG="trusted-public-keys = $(cat testdata/public-key)"
export NIX_CONFIG
mkfifo "$tmp/address"
"$tmp/nixoci" serve --listen 127.0.0.1:0 >"$tmp/address" &
server=$!
read -r address <"$tmp/address"

# result NAME: ./result is a link to the sample system, as nix build leaves it
result() {
	ln -sfn "$(sed -n "s/.*\"sample-x86_64-linux$1\": *\"\([^\"]*\)\".*/\1/p" "$top/testdata/systems.json")" result
}

# show WORD...: a command and what it prints. The picture has neither the flag that says
# where the sample system comes from, nor the registry's port of today.
show() {
	echo "\$ nixoci $*" | sed "s/$address/localhost:5000/g"
	"$tmp/nixoci" "$@" --color always --from "file://$top/testdata/cache" 2>&1 | sed "s/$address/localhost:5000/g"
	echo
}

mkdir "$tmp/here"
cd "$tmp/here"
{
	result ""
	show push "$address/web" ./result
	result -update
	show plan ./result --against "$address/web"
	show push "$address/web" ./result
	show verify "$address/web" ./result
} >"$tmp/transcript"
"$tmp/recording" <"$tmp/transcript" >"$top/docs/terminal.svg"
