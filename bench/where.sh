#!/usr/bin/env bash
# Where the time of a row goes, in nanoseconds a payload byte of each end: bench/where.sh ROW [SIZE [ROUNDS]]
#
#     bench/where.sh udpx-sealed 2GiB       bench/where.sh sealed-pump 2GiB       bench/where.sh udpx-file 1GiB
#
# Runs one row of `udpx-bench compare` under perf (CPU clock, whole machine; root) and sorts the samples of the busiest processes
# by what they were doing. Which of them is the sender shows by what it does: seal, or open. Only rows that are sealed can be told
# apart so. A row of two figures (with and without digest, one and four sessions) shows as so many pairs of processes, in their order.
set -euo pipefail
cd "$(dirname "$0")/.."
row=${1:?a row of udpx-bench compare} size=${2:-1GiB} rounds=${3:-2}
command -v perf >/dev/null || { echo "perf is not installed (Debian: linux-perf)" >&2; exit 69; }
bytes=$(numfmt --from=iec-i --suffix=B "$size" | tr -d B)
rate=4000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --release --quiet -p udpx-bench -p udpxctl
perf record -q -a -e cpu-clock -F $rate -o "$work/perf.data" \
    target/release/udpx-bench compare --rounds "$rounds" --size "$size" --rows "$row" >"$work/out" 2>&1
grep -E "^(row|$row) " "$work/out"
perf script -i "$work/perf.data" -F comm,pid,ip,sym,dso 2>/dev/null | awk -v rate=$rate -v bytes="$bytes" '
    # comm may hold blanks: fields are counted from the address on.
    match($0, /^ *[^ ]+ +[0-9]+ +[0-9a-f]+ /) {
        split(substr($0, 1, RLENGTH), head, " ")
        comm = head[1]; pid = head[2]; rest = substr($0, RLENGTH + 1)
        if (comm !~ /^(udpx|memory)/) next
        kernel = rest ~ /\[kernel|kallsyms/
        if (kernel && rest ~ /^_copy_(to|from)_iter/) what = "socket copies"
        else if (kernel && rest ~ /^(copy_folio|shmem|folio|filemap|__filemap|next_uptodate|set_pte|zap_|unmap|__get_user_pages|follow_page|do_fault|handle_mm|__handle_mm|xas_|alloc_|__alloc|get_page|__rmqueue|clear_page|charge|mem_cgroup|__mem_cgroup|memcg|mod_memcg|__lruvec|lru_|workingset|noop_dirty|security_vm|cap_vm|percpu|__percpu|generic_perform|free_|__free|uncharge|release_pages|vm_normal|__pte)/) what = "files and pages"
        else if (kernel) what = "sockets and scheduling"
        else if (rest ~ /blake3/) what = "BLAKE3"
        else if (rest ~ /aes_gcm_(en|de)crypt/) what = "AES-256-GCM, bytes"
        else if (rest ~ /aws_lc|gcm|aead|skip_iv|CRYPTO|EVP/) what = "AES-256-GCM, set-up a packet"
        else if (rest ~ /udpx_proto/) what = "protocol"
        else what = "rest of udpx"
        count[pid, what]++; all[pid]++
        if (rest ~ /encrypt/) seals[pid]++
        if (rest ~ /decrypt/) opens[pid]++
        if (!(pid in seen)) { seen[pid] = ++pids; order[pids] = pid }
    }
    END {
        kinds = split("BLAKE3|AES-256-GCM, bytes|AES-256-GCM, set-up a packet|socket copies|sockets and scheduling|files and pages|protocol|rest of udpx", kind, "|")
        line = sprintf("%-30s", "ns a byte")
        for (i = 1; i <= pids; i++) {
            pid = order[i]
            # The parent, which makes the source and compares the copies, neither seals nor opens.
            if (seals[pid] + opens[pid] < all[pid] / 20 || all[pid] < rate / 20) continue
            shown[++columns] = pid
            line = line sprintf(" %9s", seals[pid] > opens[pid] ? "sender" : "receiver")
        }
        print line
        for (k = 1; k <= kinds; k++) {
            line = sprintf("%-30s", kind[k])
            for (c = 1; c <= columns; c++) line = line sprintf(" %9.3f", count[shown[c], kind[k]] / rate / bytes * 1e9)
            print line
        }
        line = sprintf("%-30s", "together")
        for (c = 1; c <= columns; c++) line = line sprintf(" %9.3f", all[shown[c]] / rate / bytes * 1e9)
        print line
    }'
