#!/bin/sh
# e2e/enter.sh ROOT STATE SHARED: changes the root of this process to ROOT. It
# must be started in a new mount namespace. The directory SHARED has the same path
# in ROOT, and STATE becomes /var/lib in ROOT. The rest of ROOT is read-only. Other
# programs enter the root with nsenter -m -r. This process only keeps the namespace
# open. When it is ready, it writes its process number to STATE.pid.
#
# It uses pivot_root because chroot is not enough: with chroot, docker exec and
# health checks would run in the host's root.
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
