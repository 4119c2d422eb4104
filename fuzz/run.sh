#!/usr/bin/env bash
# Fuzzes one target after the other with libFuzzer: fuzz/run.sh [SECONDS [TARGET...]]
#
# SECONDS (600) are of processor time for each target, taken in turns of at most 100 s by the clock: on a machine that is
# busy all have had something whenever it must end. After each turn a line tells what the target has had in all. Ctrl-C, or
# a SIGTERM to the target's process, ends the turn and the run. What fails gets no more turns.
#
# The instrumentation is plain code generation options, so the stable compiler does, and nothing has to be installed
# (`cargo fuzz` finds everything where it expects it, too). There is no address sanitizer, which needs a nightly compiler:
# the parsers have no unsafe code, so what is sought is panics, overflows and broken promises, with debug assertions on.
# What is found lies in fuzz/artifacts/TARGET afterwards; mend it, and move the input to fuzz/regressions/TARGET.
# Inputs that reach something new are gathered in fuzz/work/TARGET; `fuzz/run.sh minimise` merges them into fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")"
triple=$(rustc -vV | sed -n 's/^host: //p')
targets=(packets frames sack handshake session messages ticket config peers invitations words control)
flags="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
 -Cllvm-args=-sanitizer-coverage-trace-compares"
# A target triple of its own keeps build scripts and macros from being instrumented.
RUSTFLAGS=$(echo $flags) cargo build --release --bins --target "$triple"
built=target/$triple/release

if [ "${1:-}" = minimise ]; then
    for target in "${targets[@]}"; do
        mkdir -p "work/$target" merged
        # The fewest inputs that reach as much: the corpora are part of the repository, and run as plain tests.
        "$built/$target" -set_cover_merge=1 -rss_limit_mb=2048 merged "corpus/$target" "work/$target" 2>/dev/null
        rm -r "corpus/$target" && mv merged "corpus/$target"
        echo "$target: $(find "corpus/$target" -type f | wc -l) inputs"
    done
    exit
fi

seconds=${1:-600}
[ $# -gt 1 ] && targets=("${@:2}")
turn=100
declare -A had executed
TIMEFORMAT='%U %S'
while [ ${#targets[@]} -gt 0 ]; do
    again=()
    for target in "${targets[@]}"; do
        mkdir -p "work/$target" "artifacts/$target"
        known=("corpus/$target")
        [ ! -d "regressions/$target" ] || known+=("regressions/$target")
        left=$((seconds - ${had[$target]:-0}))
        status=0
        # Both streams are libFuzzer's; its last lines tell what was done. Those of `time` are the processor's seconds.
        { time "$built/$target" "work/$target" "${known[@]}" -max_total_time=$((left < turn ? left : turn)) -max_len=4096 \
            -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="artifacts/$target/" \
            >"work/$target.log" 2>&1; } 2>work/time || status=$?
        had[$target]=$((${had[$target]:-0} + $(awk '{ printf "%d", $1 + $2 + 0.5 }' work/time)))
        executed[$target]=$((${executed[$target]:-0} + $(awk '/stat::number_of_executed/ { n = $2 } END { print n + 0 }' "work/$target.log")))
        reached=$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [^ ]+' "work/$target.log" | tail -1)
        echo "$target: ${had[$target]} s of processor, ${executed[$target]} executions, $reached"
        case $status in
        0) [ "${had[$target]}" -ge "$seconds" ] || again+=("$target") ;;
        72) exit 130 ;; # interrupted, says libFuzzer
        *) echo "$target FAILED: see fuzz/work/$target.log and fuzz/artifacts/$target" ;;
        esac
    done
    targets=("${again[@]}")
done
