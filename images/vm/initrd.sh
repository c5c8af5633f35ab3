#!/bin/busybox sh
# The first process: loads the disk's driver and its file system, then hands over to the disk. Nothing is looked for.
export PATH=/bin
/bin/busybox mkdir -p /proc /dev /disk
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
while read -r module; do
  /bin/busybox insmod "/modules/$module" || echo "initrd: $module cannot be loaded"
done </modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 300 ]; do
  /bin/busybox usleep 20000
  tries=$((tries + 1))
done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /disk || {
  echo "initrd: the disk cannot be mounted"
  exec /bin/busybox poweroff -f
}
/bin/busybox umount /proc
exec /bin/busybox switch_root /disk /sbin/init
