#!/bin/sh
# Renew docs/plan-page.png, the picture in README.md: the page of nixoci plan
# for the graph of a real system that bench/plan also uses. Needs Go and Chromium.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
gzip -dc bench/plan/graphs/large-x86_64-linux.json.gz >"$dir/server.json"
CGO_ENABLED=0 ${GO:-go} build -o "$dir/nixoci" ./cmd/nixoci
# The page names the file: as a user in its directory would.
(cd "$dir" && ./nixoci plan server.json --html plan.html --quiet)
"${CHROMIUM:-chromium}" --headless --no-sandbox --disable-gpu --hide-scrollbars --force-color-profile=srgb \
	--window-size=1200,800 --screenshot="$PWD/docs/plan-page.png" "file://$dir/plan.html"
