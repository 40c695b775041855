#!/bin/sh
# Runs the end-to-end tests with real engines, a real registry and real Nix. The
# arguments are flags of go test (e2e/run.sh -run TestUmoci). NIXOCI_E2E_CACHE
# is a directory that keeps the large systems between runs.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "e2e/run.sh: the engines need root; run it with sudo -E" >&2; exit 1; }
sh e2e/install.sh >&2
# The cache is not in root's home, because an unprivileged user pushes from it,
# too.
NIXOCI_E2E_CACHE=${NIXOCI_E2E_CACHE:-/var/cache/nixoci-e2e}
export NIXOCI_E2E_CACHE
mkdir -p "$NIXOCI_E2E_CACHE/bin"
setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$NIXOCI_E2E_CACHE" || {
  echo "e2e/run.sh: NIXOCI_E2E_CACHE=$NIXOCI_E2E_CACHE: an unprivileged user cannot reach it, and tests push from it as one; choose another directory" >&2
  exit 1
}
# Build the tools before entering the namespace, with the caller's Go caches,
# and in parallel with the downloads.
go build -o "$NIXOCI_E2E_CACHE/bin/debstore" ./e2e/debstore
# NIXOCI_E2E_TOOLS lists more tools, for tests that only some targets of the Makefile
# run.
# shellcheck disable=SC2086
sh e2e/tool.sh ${NIXOCI_E2E_TOOLS:-} \
  github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 \
  sigs.k8s.io/cri-tools/cmd/crictl@v1.37.0 \
  github.com/distribution/distribution/v3/cmd/registry@v3.1.2 \
  github.com/anchore/syft/cmd/syft@v1.57.1 \
  github.com/anchore/grype/cmd/grype@v0.121.3 & # the same versions as in attest_test.go and grype_test.go
building=$!
# cosign 2 and 3 write signatures in different forms by default.
sh e2e/debtool.sh trixie cosign2=cosign
sh e2e/debtool.sh forky cosign3=cosign crane=crane oras=oras
sh e2e/engines.sh
wait $building
"$NIXOCI_E2E_CACHE/bin/debstore" large -root "$NIXOCI_E2E_CACHE/large" -debs "$NIXOCI_E2E_CACHE/debs" -out "$NIXOCI_E2E_CACHE/large"
# The engines need a separate cgroup2 hierarchy, and mounts that disappear at the
# end of the run.
run() {
  NIXOCI_E2E_INSIDE=1 unshare -m sh -ec '
    mount --make-rprivate /
    umount -R /sys/fs/cgroup 2>/dev/null || :
    mount -t cgroup2 none /sys/fs/cgroup
    exec go test -tags "${NIXOCI_E2E_TAGS:-e2e}" -count 1 -timeout 75m -parallel 3 -v ./e2e "$@"' sh "$@"
}
[ $# -eq 0 ] || { run "$@"; exit; }
# If all tests are run, a test that did not run or was skipped counts as failed.
log=$NIXOCI_E2E_CACHE/last-run
rm -f "$log".*
{ run && echo 0 >"$log.code" || echo $? >"$log.code"; } 2>&1 | tee "$log.log"
go test -tags e2e -list . ./e2e | grep '^Test' | sort >"$log.expected"
for outcome in PASS FAIL; do
  sed -n "s/^--- $outcome: \\(Test[^ ]*\\) .*/\\1/p" "$log.log" | sort >"$log.$outcome"
done
# A long output is often cut in the middle, so that the reason of a failure belongs at its end.
while read -r test; do
  echo "=== why $test failed"
  sed -n "/^=== RUN   $test\$/,/^--- FAIL: $test /p" "$log.log" | head -n 100
done <"$log.FAIL"
lost=$(sort "$log.PASS" "$log.FAIL" | comm -23 "$log.expected" -)
echo "e2e: of $(wc -l <"$log.expected") tests $(wc -l <"$log.PASS") passed and $(wc -l <"$log.FAIL") failed"
if [ ! -s "$log.expected" ] || [ -n "$lost" ]; then
  printf 'e2e/run.sh: these did not run:\n%s\n' "$lost" >&2
  exit 1
fi
exit "$(cat "$log.code")"
