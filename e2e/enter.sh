#!/bin/sh
# e2e/enter.sh ROOT STATE SHARED: turns this process into one whose root is ROOT, in
# the mount namespace that it was started in. SHARED is where it was, STATE is
# ROOT's /var/lib, everything else of ROOT is read-only. What is to run there is
# started with nsenter -m -r; this process only holds the namespace, and writes
# its number to STATE.pid when it is ready.
#
# pivot_root and not chroot: a container's own root would be the host's for
# whatever docker exec and health checks start.
set -eu
root=$1 state=$2 shared=$3
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sys sys
mount -t cgroup2 none sys/fs/cgroup
mount --rbind /dev dev
for dir in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs $dir; done
mkdir -p "./$shared" "$state"
mount --rbind "$shared" "./$shared"
mount --bind "$state" var/lib
mkdir tmp/old
pivot_root . tmp/old
cd /
umount -l /tmp/old
rmdir /tmp/old
mount -o remount,bind,ro /
echo $$ >"$state.pid"
exec sleep infinity
