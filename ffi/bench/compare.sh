#!/bin/bash
# The C library beside the Rust programs, in interleaved pairs; prints each pair and the median of the ratios.
#
#     ffi/bench/compare.sh [PAIRS [MEBIBYTES]]      after: cargo build --release -p udpxd -p udpx -p udpxctl
#
# daemon:   a push of a memory-backed file between two daemons on the loopback: `rate daemon` beside `udpxctl push`, each
#           as a whole command.
# embedded: memory into a callback: `rate embedded` beside `cargo run --release --example into_sink`, the same engines
#           driven from Rust. Each is the rate of the transfer alone.
set -euo pipefail

pairs=${1:-9} mebibytes=${2:-512}
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
built=${CARGO_TARGET_DIR:-$root/target}/release
place=$(mktemp -d /dev/shm/udpx-rate-XXXXXX)
daemons=()
trap 'kill "${daemons[@]}" 2>/dev/null || true; wait; rm -rf "$place"' EXIT

"$root/ffi/install.sh" --prefix "$place/prefix" --from "$built"
(cd "$root" && cargo build --release --quiet -p udpxd --example into_sink)
export PKG_CONFIG_PATH=$place/prefix/lib/pkgconfig LD_LIBRARY_PATH=$place/prefix/lib
# shellcheck disable=SC2046
cc -O2 -D_DEFAULT_SOURCE "$here/rate.c" -o "$place/rate" $(pkg-config --cflags --libs udpx)

start() { # NAME PORT PEER-NAME PEER-PORT: the keys are there
    cat >"$place/$1/udpxd.toml" <<TOML
listen = ["127.0.0.1:$2"]
identity = "$place/$1/identity"
state = "$place/$1"
inbox = "$place/$1/inbox"
control = "$place/$1/d.sock"
[[peer]]
name = "$3"
key = "$(cat "$place/$3/key")"
address = "127.0.0.1:$4"
TOML
    "$built/udpxd" run --config "$place/$1/udpxd.toml" 2>"$place/$1/log" &
    daemons+=($!)
    until grep -q 'control socket' "$place/$1/log"; do sleep 0.1; done
}

for name in a b; do
    mkdir "$place/$name"
    "$built/udpxctl" key --identity "$place/$name/identity" >"$place/$name/key"
done
start a 47611 b 47612
start b 47612 a 47611
head -c $((mebibytes << 20)) /dev/urandom >"$place/file"

median() { sort -g | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
by_ctl() {
    local began ended
    began=$(date +%s%N)
    "$built/udpxctl" -q push --socket "$place/a/d.sock" "$place/file" b:file
    ended=$(date +%s%N)
    awk -v bytes=$((mebibytes << 20)) -v ns=$((ended - began)) 'BEGIN { printf "%.3f\n", bytes * 8 / ns }'
}
by_c() {
    local began ended
    began=$(date +%s%N)
    "$place/rate" daemon "$place/a/d.sock" b:file "$place/file" >/dev/null
    ended=$(date +%s%N)
    awk -v bytes=$((mebibytes << 20)) -v ns=$((ended - began)) 'BEGIN { printf "%.3f\n", bytes * 8 / ns }'
}
pair() { # NAME C RUST
    echo "$1 $2 $3 $(awk -v c="$2" -v r="$3" 'BEGIN { printf "%.3f", c / r }')" | tee -a "$place/$1"
}

echo "load $(cut -d' ' -f1-3 /proc/loadavg), $mebibytes MiB; name, C Gbit/s, Rust Gbit/s, ratio"
by_c >/dev/null
by_ctl >/dev/null
for ((n = 0; n < pairs; n++)); do
    # Whoever is first finds another state of the machine: they take turns.
    if ((n % 2)); then
        rust=$(by_ctl) c=$(by_c)
    else
        c=$(by_c) rust=$(by_ctl)
    fi
    pair daemon "$c" "$rust"
done
kill "${daemons[@]}" && wait "${daemons[@]}" || true
daemons=()
for ((n = 0; n < pairs; n++)); do
    if ((n % 2)); then
        rust=$("$built/examples/into_sink" "$mebibytes") c=$("$place/rate" embedded "$mebibytes")
    else
        c=$("$place/rate" embedded "$mebibytes") rust=$("$built/examples/into_sink" "$mebibytes")
    fi
    pair embedded "$c" "$rust"
done
for name in daemon embedded; do
    echo "$name: median ratio $(awk '{ print $4 }' "$place/$name" | median), C $(awk '{ print $2 }' "$place/$name" | median), Rust $(awk '{ print $3 }' "$place/$name" | median) Gbit/s"
done
echo "load $(cut -d' ' -f1-3 /proc/loadavg)"
