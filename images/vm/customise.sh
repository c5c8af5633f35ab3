#!/bin/bash
# customise.sh ROOTFS HERE WORK: lays our own files over the installed system, takes kernel and first file system out.
set -euo pipefail
rootfs=$1 here=$2 work=$3
cp -r --no-preserve=ownership "$here/root/." "$rootfs/"
kernel=$(ls "$rootfs/lib/modules")
chroot "$rootfs" depmod "$kernel"

# Units that would only cost start time: nothing of them concerns a machine that lives for one lab.
chroot "$rootfs" systemctl --quiet mask \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  systemd-pstore.service systemd-random-seed.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
  systemd-journal-flush.service systemd-firstboot.service systemd-hwdb-update.service ldconfig.service \
  systemd-network-generator.service systemd-machine-id-commit.service systemd-boot-system-token.service \
  systemd-journal-catalog-update.service systemd-update-done.service dev-hugepages.mount sys-kernel-debug.mount \
  sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-mqueue.mount getty@tty1.service getty-static.service \
  serial-getty@ttyS0.service keyboard-setup.service console-setup.service systemd-rfkill.service systemd-rfkill.socket \
  systemd-user-sessions.service modprobe@drm.service modprobe@efi_pstore.service systemd-sysusers.service \
  initrd-cleanup.service networking.service systemd-timesyncd.service systemd-networkd.service
chroot "$rootfs" systemctl --quiet enable datalabs-begin.service datalabs-screen.service datalabs-grow.service
chroot "$rootfs" systemctl --quiet set-default multi-user.target
# Autostarts that a machine without sound, printers, keys and power has no use for.
for name in at-spi-dbus-bus xfce4-power-manager polkit-gnome-authentication-agent-1; do
  rm -f "$rootfs/etc/xdg/autostart/$name.desktop"
done
: >"$rootfs/etc/machine-id" # QEMU gives each machine its own by the kernel's command line
rm -f "$rootfs/var/lib/dbus/machine-id"
echo '/dev/vda / ext4 defaults,noatime 0 0' >"$rootfs/etc/fstab"
echo 'nameserver 10.0.2.3' >"$rootfs/etc/resolv.conf"
echo '. /usr/lib/datalabs/environment.sh' >"$rootfs/etc/profile.d/datalabs.sh"

# Debian's kernel is packed with xz; unpacking that in software emulation would take seconds of each start.
packed=$(echo "$rootfs"/boot/vmlinuz-*)
LC_ALL=C grep -obUaP '\xfd7zXZ\x00' "$packed" >"$work/marks" || true
at=$(head -n 1 "$work/marks" | cut -d: -f1)
# What follows the packed part is not its own: xz says so at its end, after all is out.
tail -c "+$((${at:-0} + 1))" "$packed" >"$work/packed.xz"
xz --decompress --stdout --quiet <"$work/packed.xz" >"$work/vmlinux" || true
if [ "$(head -c 4 "$work/vmlinux" | tail -c 3)" = ELF ]; then mv "$work/vmlinux" "$work/vmlinuz"; else cp "$packed" "$work/vmlinuz"; fi
first=$work/first
mkdir -p "$first/bin" "$first/modules"
cp "$rootfs/bin/busybox" "$first/bin/busybox"
install -m 0755 "$here/initrd.sh" "$first/init"
# In the order of their needs, each once.
for module in virtio_pci virtio_blk crc32c_generic ext4; do
  chroot "$rootfs" modprobe --set-version="$kernel" --show-depends "$module"
done | sed -n 's/^insmod \(\S*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
  cp "$rootfs$file" "$first/modules/"
  basename "$file" >>"$first/modules/order"
done
(cd "$first" && find . | sort | bin/busybox cpio -o -H newc 2>/dev/null) | zstd -q -19 >"$work/initrd"
rm -rf "$rootfs"/boot/* "$rootfs"/initrd.img* "$rootfs"/vmlinuz* "$rootfs"/var/cache/apt/* "$rootfs"/var/lib/apt/lists/* \
  "$rootfs"/var/log/* "$rootfs"/var/cache/debconf/*-old "$rootfs"/tmp/*
mkdir -p "$rootfs/media" "$rootfs/data"
