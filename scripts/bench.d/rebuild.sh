# A build of which every step is cached.
rebuilds=25

measure_rebuild() {
    local i which ours theirs
    title "Fully cached rebuild of the guestbook, $rebuilds of each in turn"
    start_dockerd
    export DOCKER_BUILDKIT=1
    for which in web:v1 db:1; do
        local name=guestbook-$which context=$BENCH_TOP/examples/guestbook/${which%:*}
        cutover build -q --network host -t "$name" "$context" >>"$log"
        docker build -q --network host -t "$name" "$context" >>"$log"
        for ((i = 0; i < rebuilds; i++)); do
            micros cutover build -q --network host -t "$name" "$context" >>"$work/rebuild.${which%:*}.cutover"
            micros docker build -q --network host -t "$name" "$context" >>"$work/rebuild.${which%:*}.docker"
        done
        ours=$(median "$work/rebuild.${which%:*}.cutover") theirs=$(median "$work/rebuild.${which%:*}.docker")
        row "cached build of the guestbook's ${which%:*}, median" "$(ms "$ours")" "docker, BuildKit $(ms "$theirs")" \
            "$(over "$ours" "$theirs")" "< 100 ms" "$(holds "$ours < 100000")"
    done
    stop_dockerd
}
