# Deployments in a row under load: every request is counted, and how long each took.
deployments=50
app=$BENCH_TOP/scripts/bench.d/app

deploy() { # N: odd ones are v1, even ones v2; each is a release of its own and starts a new container
    VERSION=v$(((($1 + 1) % 2) + 1)) BUILD=$1 cutover deploy -f "$app/compose.yaml" --json
}

# The app behind the agent's proxy, both versions running.
ensure_app() {
    [ -z "$(agent_pid)" ] || return 0
    cutover agent -d --listen "127.0.0.1:$port" >>"$log"
    deploy 1 >>"$log"
    deploy 2 >>"$log"
}

# All deployments under one load; the figures are left in $work/load.json and $work/switch.*.
switch_often() { # FIRST
    local i load
    rm -f "$work/switch.switched" "$work/marks"
    mkfifo "$work/marks"
    cutover loadgen --keep-alive 60 --per-request 4 --version-header x-app-version "$url/" \
        <"$work/marks" >"$work/load.json" &
    load=$!
    exec 9>"$work/marks"
    sleep 2
    for ((i = $1; i < $1 + deployments; i++)); do
        echo "begin $i" >&9
        deploy "$i" >"$work/deploy.json" 2>>"$log" || die "deployment $i failed"
        echo "end $i" >&9
        number switched_ms "$work/deploy.json" >>"$work/switch.switched"
        sleep 0.3
    done
    sleep 1
    exec 9>&-
    wait "$load"
    sed -n 's/^ *"slowest_micros": \([0-9]*\).*/\1/p' "$work/load.json" >"$work/switch.slowest"
    requests=$(number requests "$work/load.json") failed=$(number failed "$work/load.json")
    [ "$failed" = 0 ] || sed -n '/"failures"/,/}/p' "$work/load.json"
}

row_slowest() { # WHAT
    local outside worst
    outside=$(number slowest_outside_micros "$work/load.json") worst=$(most "$work/switch.slowest")
    row "$1: slowest request while deploying / while not" "$(ms "$worst") / $(ms "$outside")" "" "" "≤ 50 ms over" \
        "$(holds "$worst <= $outside + 50000")"
    row "$1: slowest request of each deployment, median" "$(ms "$(median "$work/switch.slowest")")" "" "" "" ""
}

measure_switch() {
    local requests failed all
    title "Switch: $deployments deployments in a row, 64 connections that never rest, twice"
    ensure_app
    # Connections of clients that open one for each request wait in TIME_WAIT.
    echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range
    switch_often 3
    all=$requests
    row "app: nginx as it is: failed requests and connection errors, $deployments deployments" "$failed of $requests" "" "" "0" \
        "$(holds "$failed == 0")"
    row_slowest "app: nginx as it is"
    row "latency p50 / p99, all the time" \
        "$(ms "$(number p50_micros "$work/load.json")") / $(ms "$(number p99_micros "$work/load.json")")" "" "" "" ""
    row "deploy: command to switched, median under this load" "$(median "$work/switch.switched") ms" "" "" "" ""
    # Left alone nginx takes one new connection in each turn of its loop; then a new instance is slow to
    # take over the connections of the old one.
    export ACCEPT=on
    deploy $((deployments + 3)) >>"$log"
    switch_often $((deployments + 4))
    all=$((all + requests))
    row "app: nginx with \`multi_accept on\`: failed requests and connection errors" "$failed of $requests" "" "" "0" "$(holds "$failed == 0")"
    row_slowest "app: nginx with \`multi_accept on\`"
    sleep 2
    local agent proxy spent
    agent=$(agent_pid) proxy=$(proxy_pid)
    spent=$(ticks "$agent" "$proxy")
    sleep 2
    spent=$((($(ticks "$agent" "$proxy") - spent) * 1000000 / $(getconf CLK_TCK) / 2))
    agent=$(pss "$agent") proxy=$(pss "$proxy")
    row "agent after $((2 * deployments)) deployments (PSS)" "$(mib "$agent")" "" "" "< 20 MiB" "$(holds "$agent < 20480")"
    row "proxy after $all requests (PSS)" "$(mib "$proxy")" "" "" "" ""
    row "agent and proxy, CPU time per second without load" "$(ms $spent)" "" "" "" ""
}
