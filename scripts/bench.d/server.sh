# Our registry beside Debian's docker-registry, both on a disk and on loopback, one after the other.
server_blob_mb=256
server_small=600
server_crowd_clients=200
server_crowd_seconds=${BENCH_CROWD_SECONDS:-60}

server_load() { python3 "$BENCH_TOP/scripts/bench.d/registry-load" "$@"; }

# Runs a command and leaves in `spent` the CPU time that the server took for it, in microseconds.
spending() { # COMMAND...
    local before
    before=$(ticks "$server")
    "$@"
    spent=$((($(ticks "$server") - before) * 1000000 / $(getconf CLK_TCK)))
}

# Requests per second and CPU time for each, of a GET.
server_get() { # NAME PATH
    spending wrk -t2 -c32 -d4s -H "Accept: application/vnd.oci.image.manifest.v1+json" "http://$host$2" >"$work/wrk"
    ! grep -q 'Non-2xx' "$work/wrk" || die "$2: not every answer was good"
    local count
    count=$(awk '/requests in/ { print $1 }' "$work/wrk")
    echo "$(awk '/^Requests\/sec/ { print $2 }' "$work/wrk") $(awk "BEGIN { print $spent / $count }")" >"$work/server.$1.$side"
}

server_push() { # FILE...: each as a blob
    local file place
    for file; do
        place=$(curl -fsS -X POST -D - -o "$work/null" "http://$host/v2/bench/large/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
        case $place in http*) ;; *) place=http://$host$place ;; esac
        case $place in *\?*) place=$place\& ;; *) place=$place\? ;; esac
        curl -fsS -X PUT -T "$file" -H 'Content-Type: application/octet-stream' -H 'Expect:' "${place}digest=sha256:$(cat "$file.sha256")" >>"$log"
    done
}
server_pull() { # FILE...
    local file
    for file; do
        curl -fsS -o /dev/null "http://$host/v2/bench/large/blobs/sha256:$(cat "$file.sha256")"
    done
}

server_side() { # cutover|docker
    side=$1
    local blob files=("$work"/large.?) mb=$((4 * server_blob_mb))
    blob=$(server_load "$host" tags 300)
    server_get manifest /v2/bench/many/manifests/t7
    server_get tags /v2/bench/many/tags/list
    server_get blob "/v2/bench/many/blobs/$blob"
    spending ab -q -k -i -c 32 -n 30000 "http://$host/v2/bench/many/blobs/$blob" >"$work/ab" 2>>"$log"
    grep -q '^Failed requests: *0' "$work/ab" || die "HEAD of a blob failed"
    echo "$(awk '/^Requests per second/ { print $4 }' "$work/ab") $(awk "BEGIN { print $spent / 30000 }")" >"$work/server.head.$side"
    spending server_load "$host" small "$server_small" 4 >"$work/server.rate"
    echo "$(cat "$work/server.rate") $(awk "BEGIN { print $spent / $server_small }")" >"$work/server.small.$side"
    local what from to
    for what in push pull; do
        from=$EPOCHREALTIME
        spending "server_$what" "${files[@]}"
        to=$EPOCHREALTIME
        echo "$(awk "BEGIN { print $mb / (($to - $from)) }") $(awk "BEGIN { print $spent / 1000 / $mb }")" >"$work/server.$what.$side"
    done
    awk '/^VmHWM:/ { print $2 }' "/proc/$server/status" >"$work/server.peak.$side"
}

# A row: WHAT NAME UNIT-OF-RATE UNIT-OF-CPU TARGET AWK-CONDITION on our RATE and CPU.
server_row() {
    local rate cpu theirs_rate theirs_cpu
    read -r rate cpu <"$work/server.$2.cutover"
    read -r theirs_rate theirs_cpu <"$work/server.$2.docker"
    local condition=${6//RATE/$rate}
    condition=${condition//CPU/$cpu}
    row "$1" "$(printf '%.0f %s, %.2f %s' "$rate" "$3" "$cpu" "$4")" "docker-registry $(printf '%.0f, %.2f' "$theirs_rate" "$theirs_cpu")" \
        "$(over "$rate" "$theirs_rate")" "$5" "$(holds "$condition")"
}

measure_server() {
    local i images errors host side server spent verdict
    title "Registries: docker-registry, then ours"
    for i in 1 2 3 4; do
        head -c "$((server_blob_mb * 1024 * 1024))" /dev/urandom >"$work/large.$i"
        sha256sum "$work/large.$i" | cut -d' ' -f1 >"$work/large.$i.sha256"
    done
    start_docker_registry "$work/server-docker"
    host=127.0.0.1:5000 server=$docker_registry_pid
    server_side docker
    stop_docker_registry
    rm -rf "$work/server-docker"

    "$cutover" registry serve --listen 127.0.0.1:5001 --data "$work/server-cutover" >>"$log" 2>&1 &
    server=$!
    host=127.0.0.1:5001
    for ((i = 0; i < 100; i++)); do
        ! curl -fs "http://$host/v2/" >/dev/null || break
        sleep 0.1
    done
    server_side cutover
    server_row "GET manifest by tag, 32 connections" manifest req/s µs ">= 40000, <= 25 µs" "RATE >= 40000 && CPU <= 25"
    server_row "GET small blob" blob req/s µs ">= 20000" "RATE >= 20000"
    server_row "HEAD blob (ab)" head req/s µs "<= 40 µs" "CPU <= 40"
    server_row "list of 300 tags" tags req/s µs ">= 20000" "RATE >= 20000"
    server_row "small images, 4 clients, 5 requests each" small images/s "µs each" ">= 300, durable" "RATE >= 300"
    server_row "push of 4 blobs of $server_blob_mb MB" push MB/s "CPU ms/MB" "<= 1.2 ms/MB" "CPU <= 1.2"
    server_row "pull of these" pull MB/s "CPU ms/MB" "<= 0.5 ms/MB" "CPU <= 0.5"
    row "the registry's memory, at most" "$(mib "$(cat "$work/server.peak.cutover")")" "docker-registry $(mib "$(cat "$work/server.peak.docker")")" \
        "" "<= 64 MiB" "$(holds "$(cat "$work/server.peak.cutover") <= 65536")"
    read -r images errors < <(server_load "$host" crowd "$server_crowd_clients" "$server_crowd_seconds" 2>>"$log")
    row "$server_crowd_clients clients push, pull and compare for $server_crowd_seconds s: images, errors" "$images, $errors" "" "" "0 errors" \
        "$(holds "$errors == 0")"
    row "its memory after that, at most" "$(mib "$(awk '/^VmHWM:/ { print $2 }' "/proc/$server/status")")" "" "" "" ""
    kill "$server"
    wait "$server" || true
    verdict=$("$cutover" registry fsck --data "$work/server-cutover" 2>&1 | tail -n 1)
    say "fsck: $verdict"
    rm -rf "$work/server-cutover" "$work"/large.*
}
