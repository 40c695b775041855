#!/bin/sh
# Renews docs/plan-page.png, the picture in README.md. It shows the page of nixoci
# plan for the graph of a real system, which bench/plan also uses. The script needs
# Go and Chromium.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
gzip -dc bench/plan/graphs/large-x86_64-linux.json.gz >"$dir/server.json"
CGO_ENABLED=0 ${GO:-go} build -o "$dir/nixoci" ./cmd/nixoci
# The page contains the name of the file. So run nixoci in the file's directory, as
# a user would.
(cd "$dir" && ./nixoci plan server.json --html plan.html --quiet)
"${CHROMIUM:-chromium}" --headless --no-sandbox --disable-gpu --hide-scrollbars --force-color-profile=srgb \
	--window-size=1200,800 --screenshot="$PWD/docs/plan-page.png" "file://$dir/plan.html"
