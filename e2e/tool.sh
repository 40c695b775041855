#!/bin/sh
# e2e/tool.sh PACKAGE@VERSION...: builds Go programs into $NIXOCI_E2E_CACHE/bin.
# It keeps the programs, because building syft and grype takes minutes. The name
# of each file contains the version.
set -eu
bin=$NIXOCI_E2E_CACHE/bin
mkdir -p "$bin"
for package; do
  name=$(basename "${package%@*}")
  kept=$name-${package##*@}
  [ -x "$bin/$kept" ] || {
    echo "e2e/tool.sh: building $package" >&2
    GOBIN=$bin/new CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "$package"
    mv "$bin/new/$name" "$bin/$kept"
  }
  ln -sf "$kept" "$bin/$name"
done
