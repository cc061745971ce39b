#!/bin/sh
# Builds the fuzz targets with coverage counters and runs each for so many seconds.
# Usage: tests/fuzz/run.sh [SECONDS] [TARGET…]
#
# The counters need an unstable compiler flag, which RUSTC_BOOTSTRAP allows on a stable compiler;
# `cargo fuzz run TARGET` from tests/fuzz works as well.
set -eu
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -gt 0 ] && shift
target=${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz-coverage
RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$target RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module \
 -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
 -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1" \
    cargo build --release --locked --target "$(rustc -vV | sed -n 's/host: //p')"
for name in ${*:-classify nesting startup_packet frames conversations}; do
    mkdir -p "corpus/$name" "artifacts/$name"
    [ "$name" = classify ] && seed_classify=1 || seed_classify=0
    if [ $seed_classify = 1 ] && [ ! -e corpus/classify/seed-1 ]; then
        n=0
        while IFS= read -r line; do
            n=$((n + 1))
            printf '%s%s' "$((n % 4))" "$line" >"corpus/classify/seed-$n"
        done <../oracle/seeds.sql
    fi
    "$target"/*/release/"$name" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="artifacts/$name/" "corpus/$name"
done
