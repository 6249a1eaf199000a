# Memory as PSS: pages shared between processes count in part for each.
settle=2

measure_memory() {
    local i ours theirs pid
    title "Memory (PSS), nothing to do"
    start_dockerd
    docker run -d --rm --name bench debian:bookworm-slim sleep 600 >/dev/null
    sleep $settle
    local docker_shim docker_daemons=0
    docker_shim=$(pss "$(pids '^[^ ]*containerd-shim')")
    for pid in $(pids '^[^ ]*(dockerd|containerd) '); do
        docker_daemons=$((docker_daemons + $(pss "$pid")))
    done
    docker kill bench >/dev/null
    stop_dockerd

    cutover run -d --name one debian:bookworm-slim sleep 600 >/dev/null
    sleep $settle
    ours=$(pss "$(pids ' shim ')")
    row "shim, one container, no other process of cutover" "$(mib "$ours")" "containerd-shim $(mib "$docker_shim")" \
        "$(over "$ours" "$docker_shim")" "< 4 MiB" "$(holds "$ours < 4096")"
    for ((i = 2; i <= 10; i++)); do
        cutover run -d --name "one$i" debian:bookworm-slim sleep 600 >/dev/null
    done
    sleep $settle
    for pid in $(pids ' shim '); do pss "$pid"; done >"$work/shims"
    row "shim, ten containers, the largest" "$(mib "$(most "$work/shims")")" "" "" "< 4 MiB" \
        "$(holds "$(most "$work/shims") < 4096")"
    cutover ps -q | xargs "$cutover" rm -f >/dev/null

    cutover agent -d --listen "127.0.0.1:$port" >>"$log"
    sleep $settle
    ours=$(pss "$(agent_pid)") theirs=$(pss "$(proxy_pid)")
    row "agent, fresh" "$(mib "$ours")" "dockerd + containerd $(mib "$docker_daemons")" \
        "$(over "$ours" "$docker_daemons")" "< 20 MiB" "$(holds "$ours < 20480")"
    row "proxy, fresh" "$(mib "$theirs")" "" "" "" ""
    cutover agent --stop --all >>"$log"
}
