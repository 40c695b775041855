#!/bin/sh
# Logs in, pushes, and passes the digest to the following steps. The login is in
# a temporary directory, which is removed at the end of the step.
set -euf
host=${NIXOCI_IMAGE%%/*}
if [ -n "${NIXOCI_PASSWORD:-}" ]; then
  login=$(mktemp -d "${RUNNER_TEMP:?}/nixoci-login.XXXXXX")
  trap 'rm -rf "$login"' EXIT
  had=${DOCKER_CONFIG:-$HOME/.docker}/config.json
  [ ! -f "$had" ] || cp "$had" "$login/config.json"
  export DOCKER_CONFIG="$login"
  case $host in
  *.* | *:* | localhost) ;;
  *) host=docker.io ;;
  esac
  printf '%s' "$NIXOCI_PASSWORD" | nixoci login "$host" --username "${NIXOCI_USERNAME:?}" --password-stdin
fi
unset NIXOCI_PASSWORD
set -- push
[ "${NIXOCI_JOIN:-}" != true ] || set -- "$@" --join
[ -z "${NIXOCI_PLATFORM:-}" ] || set -- "$@" --platform "$NIXOCI_PLATFORM"
[ -z "${NIXOCI_PLAN_FROM:-}" ] || set -- "$@" --plan-from "$NIXOCI_PLAN_FROM"
[ -z "${NIXOCI_HISTORY:-}" ] || set -- "$@" --history "$NIXOCI_HISTORY"
for tag in ${NIXOCI_TAGS:-}; do set -- "$@" --tag "$tag"; done
while IFS= read -r arg; do
  [ -z "$arg" ] || set -- "$@" "$arg"
done <<EOF
${NIXOCI_ARGS:-}
EOF
set -- "$@" -- "${NIXOCI_IMAGE:?}"
for closure in ${NIXOCI_CLOSURE:-}; do set -- "$@" "$closure"; done
ref=$(nixoci "$@")
echo "$ref"
{
  echo "ref=$ref"
  echo "digest=${ref##*@}"
} >>"${GITHUB_OUTPUT:?}"
