# Replaces switch-to-configuration-ng, which is written in Rust. It activates
# the system. Then it stops, starts and restarts units that differ, as the marks
# of NixOS in the units demand. NixOS's wrapper sets OUT and TOPLEVEL.
new=${TOPLEVEL:-$OUT}
export PATH=$new/sw/bin:$SYSTEMD/bin
case "$1" in
  switch | test | dry-activate) ;;
  boot) exit 0 ;;
  *) echo "Usage: $0 [switch|boot|test|dry-activate]" >&2; exit 1 ;;
esac
[ -z "${PRE_SWITCH_CHECK-}" ] || [ "${NIXOS_NO_CHECK-}" = 1 ] || "$PRE_SWITCH_CHECK" "$new" "$1" || exit 1
old=/run/current-system
marked() { # whether the files of a unit contain a line
  cat "$1/etc/systemd/system/$2" "$1/etc/systemd/system/$2.d"/*.conf 2>/dev/null | grep -q "^$3"
}
sum() { cat "$1/etc/systemd/system/$2" "$1/etc/systemd/system/$2.d"/*.conf 2>/dev/null | sha256sum; }
stop= restart= reload=
for u in $(systemctl list-units --type=service,socket,timer,path --state=active --plain --no-legend | while read -r u _; do echo "$u"; done); do
  [ -e "$old/etc/systemd/system/$u" ] || continue
  if [ ! -e "$new/etc/systemd/system/$u" ]; then
    marked "$old" "$u" X-StopOnRemoval=false || stop="$stop $u"
  elif [ "$(sum "$old" "$u")" != "$(sum "$new" "$u")" ]; then
    if marked "$new" "$u" X-ReloadIfChanged=true; then
      reload="$reload $u"
    elif ! marked "$new" "$u" X-RestartIfChanged=false && ! marked "$new" "$u" RefuseManualStop=; then
      restart="$restart $u"
    fi
  fi
done
[ "$1" != dry-activate ] || { echo "would stop$stop, restart$restart, reload$reload"; exit 0; }
[ -z "$stop" ] || { echo "stopping the following units:$stop"; systemctl stop $stop; }
echo "activating the configuration..."
"$new/activate" "$new" || exit 2
systemctl daemon-reload || exit 3
[ -z "$reload" ] || { echo "reloading the following units:$reload"; systemctl reload $reload; }
[ -z "$restart" ] || { echo "restarting the following units:$restart"; systemctl restart $restart; }
systemctl start multi-user.target timers.target sockets.target
# These units have failed, or will be restarted after a failure.
failed=$(systemctl list-units --all --plain --no-legend | while read -r u _ active sub _; do
  [ "$active" = failed ] || { [ "$sub" = auto-restart ] && [ "$(systemctl show -P ExecMainStatus "$u")" != 0 ]; } || continue
  [ "$u" = nixoci-apply.service ] || [ ! -e "$new/etc/systemd/system/$u" ] || echo -n " $u"
done)
[ -z "$failed" ] || { echo "warning: the following units failed:$failed"; exit 4; }
