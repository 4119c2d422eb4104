#!/bin/sh
# Installs libudpx, which was built by `cargo build --release -p udpx`, below a prefix:
#   lib/libudpx.so.VERSION with its links, lib/libudpx.a, lib/pkgconfig/udpx.pc, include/udpx.h
set -eu

usage() {
    echo "usage: ffi/install.sh --prefix DIR [--from DIR-WITH-THE-LIBRARIES]" >&2
    exit 2
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix='' from="${CARGO_TARGET_DIR:-$here/../target}/release"
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --prefix) prefix=$2 ;;
    --from) from=$2 ;;
    *) usage ;;
    esac
    shift 2
done
[ -n "$prefix" ] || usage
for file in libudpx.so libudpx.a; do
    [ -f "$from/$file" ] || { echo "$from/$file is not there. Build it: cargo build --release -p udpx" >&2; exit 1; }
done
version=$(sed -n 's/^#define UDPX_VERSION "\(.*\)"$/\1/p' "$here/../include/udpx.h")

mkdir -p "$prefix/lib/pkgconfig" "$prefix/include"
prefix=$(CDPATH='' cd -- "$prefix" && pwd)
# Beside its place first: a program that runs keeps the file that it has.
install -m 755 "$from/libudpx.so" "$prefix/lib/libudpx.so.$version.new"
mv -f "$prefix/lib/libudpx.so.$version.new" "$prefix/lib/libudpx.so.$version"
ln -sfn "libudpx.so.$version" "$prefix/lib/libudpx.so.0"
ln -sfn libudpx.so.0 "$prefix/lib/libudpx.so"
install -m 644 "$from/libudpx.a" "$prefix/lib/libudpx.a"
install -m 644 "$here/../include/udpx.h" "$prefix/include/udpx.h"
sed "s|@PREFIX@|$prefix|; s|@VERSION@|$version|" "$here/udpx.pc.in" >"$prefix/lib/pkgconfig/udpx.pc"
