# Back and forth between two running releases, seen by a client that asks all the time.
rollbacks=20

# One request over the connection at 7; the version that answered is in `version`.
ask() {
    local line length=0
    # In one write: bash would make one of each line, and TCP would wait 40 ms before the second.
    cat "$work/request" >&7
    while IFS= read -r -t 5 line <&7 && line=${line%$'\r'} && [ -n "$line" ]; do
        case ${line,,} in
        x-app-version:*) version=${line#*: } ;;
        content-length:*) length=${line#*: } ;;
        esac
    done
    IFS= read -r -N "$length" -t 5 line <&7
}

measure_rollback() {
    title "Rollback to the running standby, $rollbacks times back and forth"
    ensure_app
    local i before from to command serving standby swap version=
    cutover status --json >"$work/status.json"
    serving=$(number serving "$work/status.json") standby=$(number standby "$work/status.json")
    printf 'GET / HTTP/1.1\r\nHost: bench\r\n\r\n' >"$work/request"
    exec 7<>"/dev/tcp/127.0.0.1/$port"
    for ((i = 0; i < rollbacks; i++)); do
        ask
        before=$version
        from=$EPOCHREALTIME
        cutover rollback --app bench --json "$standby" >"$work/rollback.json" 2>>"$log" &
        command=$!
        while [ "$version" = "$before" ]; do
            kill -0 "$command" 2>/dev/null || die "the rollback ended and $version still answers"
            ask
        done
        to=$EPOCHREALTIME
        wait "$command" || die "a rollback failed"
        echo $((${to/./} - ${from/./})) >>"$work/rollback.seen"
        number switched_ms "$work/rollback.json" >>"$work/rollback.switched"
        swap=$serving serving=$standby standby=$swap
        sleep 0.2
    done
    exec 7>&-
    local seen
    seen=$(most "$work/rollback.seen")
    row "rollback: command's start to the first answer of the old release, median" \
        "$(ms "$(median "$work/rollback.seen")")" "" "" "< 100 ms" "$(holds "$(median "$work/rollback.seen") < 100000")"
    row "the same, slowest of $rollbacks" "$(ms "$seen")" "" "" "< 100 ms" "$(holds "$seen < 100000")"
    row "rollback: \`switched_ms\` of \`--json\`, median / slowest" \
        "$(median "$work/rollback.switched") ms / $(most "$work/rollback.switched") ms" "" "" "" ""
}
