#!/bin/sh
# Renews docs/terminal.svg, the picture of a terminal in README.md. It shows a real
# push, plan and verify of the sample system, against the registry of nixoci serve.
# The script needs Go.
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

# result NAME: links ./result to a sample system, as nix build does
result() {
	ln -sfn "$(sed -n "s/.*\"sample-x86_64-linux$1\": *\"\([^\"]*\)\".*/\1/p" "$top/testdata/systems.json")" result
}

# show WORD...: prints a command and its output. It leaves out the flag that names
# the sample store, and shows a fixed port for the registry.
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
