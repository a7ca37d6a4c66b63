#!/bin/busybox sh
# The first process: finds the disk and hands over to systemd. When it ends the kernel panics, and says why.
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
  /bin/busybox insmod "$module"
done
tries=0
while ! test -e /dev/vda; do
  tries=$((tries + 1))
  test $tries -gt 300 && echo "there is no disk" && exit 1
  /bin/busybox sleep 0.1
done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root
exec /bin/busybox switch_root /root /sbin/init
