# The client against Debian's docker-registry on loopback: pull, push, and a push after a small change.
# BENCH_REGISTRY_MB: megabytes of the image (500), in five layers.
registry_rounds=5

start_docker_registry() { # DATA: on port 5000
    mkdir -p "$1"
    cat >"$work/docker-registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $1}, delete: {enabled: true}}
http: {addr: 127.0.0.1:5000}
YML
    docker-registry serve "$work/docker-registry.yml" >>"$log" 2>&1 &
    docker_registry_pid=$!
    local i
    for ((i = 0; i < 100; i++)); do
        ! curl -fs http://127.0.0.1:5000/v2/ >/dev/null || return 0
        sleep 0.1
    done
    die "docker-registry does not answer"
}
stop_docker_registry() {
    kill "$docker_registry_pid"
    wait "$docker_registry_pid" || true
}

# Files that compress to about half: what programs do.
registry_context() { # DIR MEGABYTES
    local i
    mkdir -p "$1"
    for i in 1 2 3 4 5; do
        head -c "$(($2 * 1024 * 1024 / 10))" /dev/urandom | od -An -v -tx8 >"$1/part$i"
    done
    echo 0 >"$1/small"
    {
        echo 'FROM scratch'
        for i in 1 2 3 4 5; do echo "COPY part$i /part$i"; done
        echo 'COPY small /small'
    } >"$1/Dockerfile"
}

peak() { # COMMAND...: KiB that it had at most; it must succeed
    local pid most=0 now
    "$@" >/dev/null 2>>"$log" &
    pid=$!
    while now=$(awk '/^VmHWM:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
        most=$now
        sleep 0.02
    done
    wait "$pid" || die "\`$*\` failed"
    echo "$most"
}

measure_registry() {
    local mb=${BENCH_REGISTRY_MB:-500} i name=127.0.0.1:5000/bench/app context=$work/registry-context ours theirs
    title "An image of $mb MB and docker-registry on loopback, $registry_rounds rounds in turn"
    start_dockerd --bridge=none --iptables=false
    start_docker_registry "$work/docker-registry"
    registry_context "$context" "$mb"
    cutover build -q --network none -t "$name:gzip" "$context" >>"$log" 2>&1
    # Debian's docker cannot read zstd
    cutover push -q --compression gzip "$name:gzip" >>"$log" 2>&1
    for ((i = 0; i < registry_rounds; i++)); do
        micros "$cutover" --root "$work/pull$i" pull "$name:gzip" >>"$work/registry.pull.cutover"
        "$cutover" --root "$work/pull$i" reset --force >>"$log" 2>&1
        rm -rf "$work/pull$i"
        micros docker pull -q "$name:gzip" >>"$work/registry.pull.docker"
        docker rmi "$name:gzip" >>"$log" 2>&1
    done
    ours=$(median "$work/registry.pull.cutover") theirs=$(median "$work/registry.pull.docker")
    row "pull and unpack of $mb MB, median" "$(ms "$ours")" "docker pull $(ms "$theirs")" \
        "$(over "$ours" "$theirs")" "<= 1/2" "$(holds "$ours <= $theirs / 2")"
    ours=$(peak "$cutover" --root "$work/pull-peak" pull "$name:gzip")
    row "memory of this pull, at most" "$(mib "$ours")" "" "" "<= 100 MiB" "$(holds "$ours <= 102400")"
    "$cutover" --root "$work/pull-peak" reset --force >>"$log" 2>&1

    # The same bytes from both: what is in the registry, as an OCI layout; to empty registries.
    skopeo copy --src-tls-verify=false "docker://$name:gzip" "oci:$work/layout:gzip" >>"$log" 2>&1
    cutover pull -q "$name:gzip" >>"$log" 2>&1
    for ((i = 0; i < registry_rounds; i++)); do
        stop_docker_registry
        rm -rf "$work/docker-registry"
        start_docker_registry "$work/docker-registry"
        micros "$cutover" image copy "oci:$work/layout:gzip" "$name:gzip" >>"$work/registry.push.cutover"
        stop_docker_registry
        rm -rf "$work/docker-registry"
        start_docker_registry "$work/docker-registry"
        micros skopeo copy -q --dest-tls-verify=false "oci:$work/layout:gzip" "docker://$name:gzip" \
            >>"$work/registry.push.skopeo"
    done
    ours=$(median "$work/registry.push.cutover") theirs=$(median "$work/registry.push.skopeo")
    row "push of the same bytes to an empty registry, median" "$(ms "$ours")" "skopeo copy $(ms "$theirs")" \
        "$(over "$ours" "$theirs")" "<= 1" "$(holds "$ours <= $theirs")"

    cutover push -q "$name:gzip" >>"$log" 2>&1
    for ((i = 1; i <= registry_rounds; i++)); do
        echo "$i" >"$context/small"
        cutover build -q --network none -t "$name:small" "$context" >>"$log" 2>&1
        micros "$cutover" push "$name:small" --compression gzip >>"$work/registry.small"
    done
    ours=$(median "$work/registry.small")
    row "push after a small change, median" "$(ms "$ours")" "" "" "<= 150 ms" "$(holds "$ours <= 150000")"
    cutover tag "$name:small" 127.0.0.1:5000/bench/peak:1
    ours=$(peak "$cutover" push 127.0.0.1:5000/bench/peak:1)
    row "memory of a push that compresses with zstd, at most" "$(mib "$ours")" "" "" "<= 100 MiB" "$(holds "$ours <= 102400")"
    stop_docker_registry
    stop_dockerd
}
