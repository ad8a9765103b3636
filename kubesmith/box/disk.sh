# ROOT (a folder) becomes DISK (a raw image of SIZE GiB) that boots. Runs in a mount namespace of its own: whatever
# ends it takes the mount and the loop device along.
set -eu
root=$1 disk=$2 size=$3
start=2048 sector=512
rm -f "$disk"
truncate -s "${size}G" "$disk"
echo "start=$start, type=83, bootable" | sfdisk --quiet --label dos "$disk"
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
# Syslinux 6 reads no 64-bit ext4.
mkfs.ext4 -q -F -L root -m 1 -O '^64bit,^metadata_csum' -E "offset=$((start * sector))" -d "$root" \
  "$disk" "$((size * 1024 * 1024 - start * sector / 1024))k"
mount --make-rprivate /
mount -o "loop,offset=$((start * sector))" "$disk" "$root"
extlinux --install "$root/boot/extlinux"
dd if=/dev/zero of="$root/swap" bs=1M count=64 status=none
chmod 0600 "$root/swap"
mkswap "$root/swap" >/dev/null
umount "$root"
