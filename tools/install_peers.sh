#!/usr/bin/env bash
# Installs the real peers of tests/peers (DCMTK, Orthanc and its DICOMweb plugin, xinetd), what
# tests/crash needs to make file systems, cut power, move the clock and let calls of the
# system fail, and tests/link to spoil networks of its own, for tests/package two shells and a
# reader of man pages, and what reads the files of contrib, where that can be done without a
# question: on Debian and its kin, as root or with a sudo that asks no password. Starts no
# service. Elsewhere it says what is missing and leaves it at that; in CI (CI=true) a missing
# peer is an error. PYPX_NO_PEERS=1 leaves the machine as it is.
set -euo pipefail

packages="dcmtk orthanc orthanc-dicomweb strace e2fsprogs iproute2 mount
    xfsprogs btrfs-progs exfat-fuse exfatprogs faketime xinetd zsh fish mandoc
    systemd logrotate iptables"
policy=/usr/sbin/policy-rc.d
ci=${CI:-false}

installed() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin:/sbin"
    # Not storescu and the like: pynetdicom has programs of these names too.
    for program in dcmdump dcmqrscp dcmqridx Orthanc strace mkfs.ext4 ip tc mount \
        mkfs.xfs mkfs.btrfs mkfs.exfat mount.exfat-fuse faketime xinetd zsh fish mandoc \
        systemd-analyze logrotate iptables; do
        command -v "$program" >/dev/null || return 1
    done
    # Elsewhere than on Debian the plugin may be anywhere: its tests are skipped without it.
    ! command -v dpkg >/dev/null || [ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ]
}

give_up() {
    echo "peers: $1; wanted: $packages" >&2
    [ "$ci" != true ] || exit 1
    exit 0
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Without a policy of its own the system would start the service of what is installed.
forbid_services() {
    [ ! -e "$policy" ] || return 0
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    trap 'as_root rm -f "$policy"' EXIT
    as_root chmod 755 "$policy"
}

silence_orthanc() {
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now orthanc.service
    else
        as_root update-rc.d orthanc disable
        as_root /etc/init.d/orthanc stop
    fi >/dev/null 2>&1 || true
}

if installed; then exit 0; fi
if [ "${PYPX_NO_PEERS:-}" = 1 ] && [ "$ci" != true ]; then exit 0; fi
command -v apt-get >/dev/null || give_up "not everything is installed, and there is no apt-get"
as_root true 2>/dev/null || give_up "not everything is installed, and this needs root"

had_orthanc=$(command -v Orthanc || ls /usr/sbin/Orthanc 2>/dev/null || true)
echo "peers: installing $packages"
forbid_services
as_root apt-get -qq update || true
# shellcheck disable=SC2086  # a list of words
as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 \
    install --yes --no-install-recommends $packages >/dev/null || give_up "apt-get failed"
[ -n "$had_orthanc" ] || silence_orthanc
installed || give_up "apt-get has installed them, and still something is missing"
