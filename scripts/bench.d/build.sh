# The builder's sample job, beside docker with BuildKit and buildah; and the memory of a build of large files.
build_rounds=5
# buildah takes ten seconds and more.
buildah_rounds=2

build_with() { # WHO
    case $1 in
    cutover) cutover build -q -t job -f "$work/job/Dockerfile" "$work/job/ctx" ;;
    docker) DOCKER_BUILDKIT=1 docker build -q -t job -f "$work/job/Dockerfile" "$work/job/ctx" ;;
    buildah) buildah_here bud --layers -q --pull-never --runtime runc --network none --ulimit nofile=10000:10000 \
        --ulimit nproc=10000:10000 -t job -f "$work/job/Dockerfile" "$work/job/ctx" ;;
    esac
}
buildah_here() { buildah --root "$work/buildah" --runroot "$work/buildah-run" --storage-driver overlay "$@"; }
forget_with() { # WHO: everything but the base image
    case $1 in
    cutover)
        cutover rmi -f job || true
        cutover gc --build-cache --all
        ;;
    docker)
        docker rmi -f job || true
        docker builder prune -af
        ;;
    buildah)
        buildah_here rmi -f job || true
        buildah_here rmi --prune -f
        ;;
    esac >>"$log" 2>&1
}
# Times a build by each of WHO in turn.
build_each() { # CASE WHO...
    local which=$1 who
    shift
    for who in "$@"; do
        micros build_with "$who" >>"$work/build.$which.$who"
    done
}
build_rows() { # CASE WHAT SHARE CONDITION
    local ours theirs others= condition=$4
    ours=$(median "$work/build.$1.cutover") theirs=$(median "$work/build.$1.docker")
    if [ -s "$work/build.$1.buildah" ]; then
        others=", buildah $(ms "$(least "$work/build.$1.buildah")")"
    fi
    condition=${condition//ours/$ours}
    row "build, sample job: $2, median" "$(ms "$ours")" "docker $(ms "$theirs")$others" "$(over "$ours" "$theirs")" \
        "$3" "$(holds "${condition//theirs/$theirs}")"
}
# The most that a process ever had in memory.
peak() { # COMMAND...: KiB
    local most=0 now
    "$@" >>"$log" 2>&1 &
    local pid=$!
    while now=$(awk '/^VmHWM:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
        [ "$now" -lt "$most" ] || most=$now
        read -rt 0.02 <> <(:) || true
    done
    wait "$pid" || die "\`$*\` failed"
    echo "$most"
}

measure_build() {
    local round who
    title "Build: four stages, 3,001 files, a RUN of 100 MB; $build_rounds of each in turn, buildah $buildah_rounds"
    "$BENCH_TOP/scripts/bench.d/build-job" "$work/job"
    start_dockerd
    docker_base_for_buildah
    for ((round = 0; round < build_rounds; round++)); do
        local all=(cutover docker)
        [ $round -ge $buildah_rounds ] || all+=(buildah)
        for who in "${all[@]}"; do forget_with "$who"; done
        sync
        build_each cold "${all[@]}"
        build_each cached "${all[@]}"
        # Another content, and so another change time.
        echo "change $round" >>"$work/job/ctx/src/unit-7/unit-0"
        build_each file "${all[@]}"
        sed -i "s/VERSION=.*/VERSION=$round.1/" "$work/job/Dockerfile"
        build_each line "${all[@]}"
    done
    build_rows cold "nothing cached" "≤ 0.75" "ours <= theirs * 0.75"
    build_rows cached "all cached" "≤ 1/2, ≤ 0.1 s" "ours <= theirs / 2 && ours <= 100000"
    build_rows file "one context file changed" "≤ 1/2" "ours <= theirs / 2"
    build_rows line "one late line changed" "≤ 1/2" "ours <= theirs / 2"
    local ours
    ours=$(peak "$cutover" build -q -t large "$work/job/large")
    row "build, memory: a 2 GiB file in the context, a RUN of 1 GiB" "$(mib "$ours")" "" "" "≤ 150 MiB" \
        "$(holds "$ours <= 153600")"
    cutover rmi -f large >>"$log" 2>&1
    stop_dockerd
    rm -rf "$work/job"
    buildah_here rmi -af >>"$log" 2>&1 || true
}

# The base image under the name that the Dockerfile has, for buildah.
docker_base_for_buildah() {
    docker save -o "$work/debian.docker.tar" debian:bookworm-slim
    buildah_here pull -q "docker-archive:$work/debian.docker.tar" >>"$log"
    rm "$work/debian.docker.tar"
}
