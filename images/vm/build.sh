#!/bin/bash
# Builds the disk of the Linux desktop: build.sh OUT writes OUT/linux-desktop/{disk.qcow2,vmlinuz,initrd,image.json}.
# Needs root, mmdebstrap, qemu-img and a Debian mirror (DEBIAN_MIRROR names another one). Mounts nothing: the file
# system is filled by mke2fs itself, and the kernel is started by QEMU directly, so there is no boot loader.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?where to?}/linux-desktop
[ "$(id -u)" = 0 ] || { echo "vm-image: this needs root (files of many owners are laid out)" >&2; exit 2; }
for tool in mmdebstrap qemu-img mke2fs zstd xz; do
  command -v "$tool" >/dev/null || { echo "vm-image: $tool is missing; \`make vm-tools\` installs it" >&2; exit 2; }
done
work=$(mktemp -d "${TMPDIR:-/tmp}/vm-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
rootfs=$work/rootfs

packages=$(sed '/^#/d;/^$/d' "$here/packages.txt" | paste -sd,)
drivers='/lib/modules/*/kernel/drivers'
keep=() # drivers that a QEMU machine has; the other 300 MB are for hardware that it never meets
for folder in virtio block/virtio_blk.ko char/virtio_console.ko char/hw_random net/virtio_net.ko net/net_failover.ko \
  gpu/drm/virtio gpu/drm/drm.ko gpu/drm/drm_kms_helper.ko gpu/drm/drm_shmem_helper.ko input/evdev.ko \
  firmware/qemu_fw_cfg.ko acpi/button.ko char/virtio_console.ko misc/pvpanic input/misc/uinput.ko block/loop.ko i2c/i2c-core.ko; do
  keep+=("--dpkgopt=path-include=$drivers/$folder*")
done
mmdebstrap --variant=minbase --mode=root --include="$packages" \
  --dpkgopt=force-confold --aptopt='APT::Install-Recommends "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/help/*' \
  --dpkgopt='path-exclude=/usr/share/backgrounds/*' --dpkgopt='path-exclude=/usr/share/icons/Adwaita/cursors/*' \
  --dpkgopt='path-include=/usr/share/icons/Adwaita/cursors/left_ptr' \
  --dpkgopt="path-exclude=$drivers/*" "${keep[@]}" \
  --dpkgopt='path-exclude=/lib/modules/*/kernel/sound/*' \
  --dpkgopt='path-exclude=/lib/modules/*/kernel/fs/*fs/*' --dpkgopt='path-include=/lib/modules/*/kernel/fs/9p/*' \
  --dpkgopt='path-include=/lib/modules/*/kernel/fs/overlayfs/*' --dpkgopt='path-include=/lib/modules/*/kernel/fs/netfs/*' \
  --dpkgopt='path-include=/lib/modules/*/kernel/fs/autofs/*' --dpkgopt='path-exclude=/lib/modules/*/kernel/net/wireless/*' \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"' \
  --customize-hook="'$here/customise.sh' \"\$1\" '$here' '$work'" \
  bookworm "$rootfs" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}

mkdir -p "$out"
used=$(du -sm --apparent-size "$rootfs" | cut -f1)
size=$((used * 5 / 4 + 256))
truncate -s "${size}M" "$work/disk.raw"
mke2fs -q -t ext4 -L datalabs -m 1 -E lazy_itable_init=0,lazy_journal_init=0,resize=268435456 -O ^metadata_csum_seed -d "$rootfs" "$work/disk.raw"
qemu-img convert -q -f raw -O qcow2 -c -o compression_type=zstd "$work/disk.raw" "$work/disk.qcow2"
built=$(cat "$work/disk.qcow2" "$work/vmlinuz" "$work/initrd" | sha256sum | cut -c1-64)
for name in disk.qcow2 vmlinuz initrd; do
  install -m 0444 "$work/$name" "$out/.$name.new"
done
cat >"$work/image.json" <<JSON
{
  "name": "linux-desktop",
  "title": "Debian 12 with Xfce",
  "digest": "$built",
  "disk_mib": $size,
  "says_ready": true,
  "kernel_command_line": "root=/dev/vda rw console=tty0 console=ttyS0 quiet loglevel=4 panic=0 net.ifnames=0 selinux=0 apparmor=0 audit=0 mitigations=off random.trust_bootloader=on systemd.show_status=auto no_timer_check",
  "labels": {
    "org.opencontainers.image.title": "linux-desktop",
    "org.opencontainers.image.licenses": "Apache-2.0",
    "org.opencontainers.image.base.name": "debian:12",
    "org.datalabs.kind": "desktop"
  }
}
JSON
install -m 0444 "$work/image.json" "$out/.image.json.new"
for name in disk.qcow2 vmlinuz initrd image.json; do mv -f "$out/.$name.new" "$out/$name"; done
echo "vm-image: $out: disk $(du -m "$out/disk.qcow2" | cut -f1) MiB (of $used MiB of files), kernel and first file system $(du -cm "$out/vmlinuz" "$out/initrd" | tail -1 | cut -f1) MiB"
