#!/bin/sh
# Installs udpx, or removes it again:
#
#     systemd/install.sh [--prefix /usr/local] [--destdir DIR] [--from target/release] [--uninstall]
#
# --prefix   where programs, unit and documents go; configuration is always in /etc
# --destdir  is put before every path, for making packages; nothing outside of it is touched
# --from     the directory of the built programs
#
# It copies files and nothing else: what to run afterwards is printed. An existing configuration is left alone. Removing
# leaves the configuration, /var/lib/udpx and the user udpx.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
prefix=/usr/local
destdir=
from=$top/target/release
uninstall=no

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --destdir | --from)
        [ $# -ge 2 ] || fail "$1 needs a directory"
        case $1 in
        --prefix) prefix=${2%/} ;;
        --destdir) destdir=${2%/} ;;
        --from) from=${2%/} ;;
        esac
        shift 2
        ;;
    --uninstall)
        uninstall=yes
        shift
        ;;
    -h | --help)
        sed -n '2,11s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    *) fail "unknown argument $1; see: install.sh --help" ;;
    esac
done
# It becomes part of the unit: nothing that systemd or sed would read otherwise.
case $prefix in
/*[!A-Za-z0-9/._+-]*) fail "--prefix may have letters, digits and /._+- only" ;;
/*) ;;
*) fail "--prefix must be an absolute path below /" ;;
esac

lib=$prefix/lib
doc=$prefix/share/doc/udpx
# firewalld looks for services of others than the distribution's in /etc only.
firewalld=/etc/firewalld/services
[ "$prefix" != /usr ] || firewalld=/usr/lib/firewalld/services

# Calls $1 with mode, source and destination of each file.
each() {
    "$1" 755 "$from/udpxd" "$prefix/bin/udpxd"
    "$1" 755 "$from/udpxctl" "$prefix/bin/udpxctl"
    "$1" 644 "$here/udpxd.service" "$lib/systemd/system/udpxd.service"
    for example in buffers.conf.example roots.conf.example; do
        "$1" 644 "$here/udpxd.service.d/$example" "$lib/systemd/system/udpxd.service.d/$example"
    done
    "$1" 644 "$here/udpx.sysusers.conf" "$lib/sysusers.d/udpx.conf"
    "$1" 644 "$here/udpx.tmpfiles.conf" "$lib/tmpfiles.d/udpx.conf"
    "$1" 644 "$here/90-udpx.sysctl.conf" "$lib/sysctl.d/90-udpx.conf"
    "$1" 644 "$here/udpx.ufw" /etc/ufw/applications.d/udpx
    "$1" 644 "$here/udpx.firewalld.xml" "$firewalld/udpx.xml"
    "$1" 644 "$here/udpxd.toml" "$doc/udpxd.toml"
    for document in README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT; do
        "$1" 644 "$top/$document" "$doc/$document"
    done
    for document in "$top"/docs/*.md; do
        "$1" 644 "$document" "$doc/${document##*/}"
    done
}

# The manual and the completions: made by udpxctl itself, so that they say what it does.
manual=$prefix/share/man
generated() {
    for page in "$1"/*.1 "$1"/*.8; do
        "$2" 644 "$page" "$manual/man${page##*.}/${page##*/}"
    done
    "$2" 644 "$1/udpxctl.bash" "$prefix/share/bash-completion/completions/udpxctl"
    "$2" 644 "$1/_udpxctl" "$prefix/share/zsh/site-functions/_udpxctl"
    "$2" 644 "$1/udpxctl.fish" "$prefix/share/fish/vendor_completions.d/udpxctl.fish"
}

copy() {
    mkdir -p "$destdir${3%/*}"
    # Moved into its place: a running program cannot be written to.
    case $2 in
    *.service) sed "s|/usr/bin/udpx|$prefix/bin/udpx|; s|/usr/share/doc|$prefix/share/doc|" "$2" >"$destdir$3.new" ;;
    *) cp "$2" "$destdir$3.new" ;;
    esac
    chmod "$1" "$destdir$3.new"
    mv -f "$destdir$3.new" "$destdir$3"
}

remove() {
    rm -f "$destdir$3"
}

umask 022
if [ "$uninstall" = yes ]; then
    if [ -z "$destdir" ] && systemctl is-active --quiet udpxd 2>/dev/null; then
        fail "udpxd is running; first: systemctl disable --now udpxd"
    fi
    each remove
    rm -f "$destdir$manual"/man1/udpxctl*.1 "$destdir$manual"/man8/udpxd*.8
    rm -f "$destdir$prefix/share/bash-completion/completions/udpxctl" "$destdir$prefix/share/zsh/site-functions/_udpxctl" \
        "$destdir$prefix/share/fish/vendor_completions.d/udpxctl.fish"
    rmdir "$destdir$doc" "$destdir$lib/systemd/system/udpxd.service.d" 2>/dev/null || true
    echo "removed; left are /etc/udpx, /var/lib/udpx and the user udpx"
    [ -n "$destdir" ] || echo "next, as root: systemctl daemon-reload"
    exit 0
fi

for program in udpxd udpxctl; do
    [ -x "$from/$program" ] || fail "$from/$program is not there; build it: cargo build --release"
done
each copy
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"$from/udpxctl" manual "$made"
if [ -e "$made/udpxctl.1" ]; then
    generated "$made" copy
else
    echo "no manual: $from/udpxctl does not make one" >&2
fi
if [ ! -e "$destdir/etc/udpx/udpxd.toml" ]; then
    copy 644 "$here/udpxd.toml" /etc/udpx/udpxd.toml
fi
if [ -z "$destdir" ]; then
    cat <<END
installed below $prefix; next, as root:
    systemd-sysusers udpx.conf && systemd-tmpfiles --create udpx.conf
    sysctl -p $lib/sysctl.d/90-udpx.conf
    systemctl daemon-reload && systemctl enable --now udpxd
END
fi
