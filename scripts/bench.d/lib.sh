# What the parts of scripts/bench share. Sourced; needs BENCH_WORK, BENCH_TOP and CUTOVER_ROOT.
set -euo pipefail
work=$BENCH_WORK
log=$work/log
cutover=$work/bin/cutover
docker_socket=unix://$work/docker.sock
dockerd_pid=

say() { printf '%s\n' "$*"; }
title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() {
    echo "bench: $*" >&2
    exit 1
}
cutover() { "$cutover" "$@"; }
# Debian's client, not whatever comes first in PATH.
docker() { /usr/bin/docker -H "$docker_socket" "$@"; }

start_dockerd() { # FLAG...
    /usr/sbin/dockerd --data-root "$work/docker" --exec-root "$work/docker-run" -H "$docker_socket" \
        --pidfile "$work/docker.pid" --storage-driver overlay2 "$@" >>"$log" 2>&1 &
    dockerd_pid=$!
    local i
    for ((i = 0; i < 300; i++)); do
        ! docker version >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    die "dockerd does not answer"
}
stop_dockerd() {
    kill "$dockerd_pid"
    wait "$dockerd_pid" || true
}

# --- figures

micros() { # COMMAND...: wall time in microseconds
    local from=$EPOCHREALTIME code=0
    "$@" >/dev/null 2>>"$log" || code=$?
    local to=$EPOCHREALTIME
    [ $code = 0 ] || die "\`$*\` ended with $code"
    echo $((${to/./} - ${from/./}))
}
median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
least() { sort -n "$1" | head -n 1; }
most() { sort -n "$1" | tail -n 1; }
ms() { awk -v us="$1" 'BEGIN { printf "%.1f ms", us / 1000 }'; }
mib() { awk -v kib="$1" 'BEGIN { printf "%.1f MiB", kib / 1024 }'; }
over() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
holds() { awk "BEGIN { print ($1) ? \"met\" : \"missed\" }"; } # AWK-CONDITION
number() { sed -n "s/^ *\"$1\": \([0-9][0-9.]*\).*/\1/p" "$2" | head -n 1; }

# One line of the table: WHAT CUTOVER PEER RATIO TARGET VERDICT, on stdout and for the end.
row() {
    printf '%-62s %-22s %-26s %-7s %s %s\n' "$1" "$2" "$3" "$4" "$5" "$6"
    printf '| %s | %s | %s | %s | %s | %s |\n' "$@" >>"$work/rows"
}
pss() { awk '/^Pss:/ { print $2 }' "/proc/$1/smaps_rollup"; } # PID: KiB
# PIDs of the processes whose command line matches; all are this run's own, by the namespace.
pids() { # PATTERN
    local one line
    for one in /proc/[0-9]*; do
        line=$(tr '\0' ' ' 2>/dev/null <"$one/cmdline") || continue
        [[ $line =~ $1 ]] && echo "${one#/proc/}"
    done
    return 0
}
ticks() { # PID...: user and system time in clock ticks, without children
    local pid sum=0
    for pid in "$@"; do
        sum=$((sum + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }')))
    done
    echo $sum
}
agent_pid() { pids '^[^ ]*cutover .*agent( |$)'; }
proxy_pid() { pids '^[^ ]*cutover .*proxy( |$)'; }
