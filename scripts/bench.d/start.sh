# `run`: against docker with the default network, against plain runc without one.
start_rounds=25
image=debian:bookworm-slim

# The least that runc takes: its own default bundle, files in a plain directory, no seccomp filter.
make_bundle() {
    mkdir -p "$work/bundle/rootfs"
    tar -C "$work/bundle/rootfs" -xf "$BENCH_DEBIAN"
    (cd "$work/bundle" && runc spec)
    sed -i -e 's/"terminal": true/"terminal": false/' -e 's/"sh"$/"true"/' -e 's/"readonly": true/"readonly": false/' \
        "$work/bundle/config.json"
}
runc_true() { runc --root "$work/runc" run --bundle "$work/bundle" bench; }

# CPU time in milliseconds of N runs with all that they leave behind, in a namespace where every
# orphan is reaped by, and so accounted to, the shell that counts.
cpu_of() { # N COMMAND...
    unshare --mount --pid --fork --kill-child --mount-proc bash -c '
        runs=$1; shift
        for ((i = 0; i < runs; i++)); do "$@" >/dev/null 2>&1 || exit 1; done
        while others=(/proc/[0-9]*) && [ ${#others[@]} -gt 1 ]; do read -rt 0.02 <> <(:) || true; done
        times' count "$@" | awk -F'[ms ]' 'NR == 2 { printf "%.0f\n", ($1 * 60 + $2 + $4 * 60 + $5) * 1000 }'
}

measure_start() {
    local i
    title "Start: run --rm IMAGE true, $start_rounds of each in turn"
    start_dockerd
    docker run --rm $image true && cutover run --rm $image true
    for ((i = 0; i < start_rounds; i++)); do
        micros cutover run --rm $image true >>"$work/start.cutover"
        sleep 0.1
        micros docker run --rm $image true >>"$work/start.docker"
        sleep 0.1
    done
    stop_dockerd
    local ours theirs
    ours=$(median "$work/start.cutover") theirs=$(median "$work/start.docker")
    row "\`run --rm IMAGE true\`, default network, median" "$(ms "$ours")" "docker $(ms "$theirs")" \
        "$(over "$ours" "$theirs")" "≤ 1/8" "$(holds "$ours <= $theirs / 8")"
    ours=$(least "$work/start.cutover") theirs=$(least "$work/start.docker")
    row "the same, fastest" "$(ms "$ours")" "docker $(ms "$theirs")" "$(over "$ours" "$theirs")" "" ""

    make_bundle
    runc_true && cutover run --rm --network none $image true
    for ((i = 0; i < start_rounds * 2; i++)); do
        micros cutover run --rm --network none $image true >>"$work/start.none"
        sleep 0.05
        micros runc_true >>"$work/start.runc"
        sleep 0.05
    done
    ours=$(median "$work/start.none") theirs=$(median "$work/start.runc")
    row "\`run --rm --network none IMAGE true\`, median" "$(ms "$ours")" "\`runc run\` $(ms "$theirs")" \
        "$(over "$ours" "$theirs")" "≤ 1" "$(holds "$ours <= $theirs")"
    ours=$(least "$work/start.none") theirs=$(least "$work/start.runc")
    row "the same, fastest" "$(ms "$ours")" "\`runc run\` $(ms "$theirs")" "$(over "$ours" "$theirs")" "" ""
    ours=$(cpu_of $start_rounds "$cutover" run --rm --network none $image true)
    theirs=$(cpu_of $start_rounds runc --root "$work/runc" run --bundle "$work/bundle" bench)
    row "the same, CPU time (user + sys) of all its processes, mean" "$(ms $((ours * 1000 / start_rounds)))" \
        "\`runc run\` $(ms $((theirs * 1000 / start_rounds)))" "$(over "$ours" "$theirs")" "" ""
}
