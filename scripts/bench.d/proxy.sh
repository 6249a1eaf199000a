# The proxy against nginx, both before the same container. Proxies have core 1 for themselves; the load and
# the backend have core 0.
proxy_rounds=3
proxy_seconds=5
nginx_port=8081

# Where the container that serves listens, in the network of the app.
serving_address() {
    local instance
    instance=$(cutover status bench --json | awk -F'"' '$2 == "id" { id = $4 } $2 == "traffic" && $4 == "serving" { print id }')
    cutover inspect "bench-$instance" | sed -n 's/^ *"ip": "\([0-9.]*\)".*/\1/p' | head -n 1
}

one_round() { # NAME PORT PID...
    local name=$1 at=$2 from spent total
    shift 2
    taskset -c 0 wrk -t1 -c64 -d1s "http://127.0.0.1:$at/" >/dev/null
    from=$(ticks "$@")
    taskset -c 0 wrk -t1 -c64 -d${proxy_seconds}s --latency "http://127.0.0.1:$at/" >"$work/wrk"
    spent=$(($(ticks "$@") - from))
    if grep -E 'Socket errors|Non-2xx' "$work/wrk"; then die "$name failed under load"; fi
    total=$(awk '/requests in/ { print $1 }' "$work/wrk")
    awk '/^Requests\/sec/ { print $2 }' "$work/wrk" >>"$work/proxy.$name.rate"
    awk -v n="$total" -v t="$spent" -v hz="$(getconf CLK_TCK)" 'BEGIN { print t / hz * 1e6 / n }' >>"$work/proxy.$name.cpu"
    awk '/99%/ { v = $2; print (v ~ /us$/) ? v / 1000 : (v ~ /ms$/) ? v + 0 : v * 1000 }' "$work/wrk" >>"$work/proxy.$name.p99"
}

measure_proxy() {
    local i pid address proxy workers
    title "Proxy throughput, 64 kept-alive connections, $proxy_rounds rounds of $proxy_seconds s each in turn"
    ensure_app
    proxy=$(proxy_pid)
    for pid in $(pids '^nginx: '); do taskset -acp 0 "$pid" >/dev/null; done
    taskset -acp 1 "$proxy" >/dev/null
    address=$(serving_address)
    mkdir -p "$work/nginx"
    cat >"$work/nginx/nginx.conf" <<END
worker_processes 1;
daemon off;
pid $work/nginx/pid;
error_log $work/nginx/error.log warn;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    upstream backend { server $address:80; keepalive 128; keepalive_requests 1000000000; }
    server {
        listen 127.0.0.1:$nginx_port backlog=4096;
        location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
}
END
    taskset -c 1 nginx -e "$work/nginx/error.log" -c "$work/nginx/nginx.conf" &
    local nginx=$!
    sleep 0.5
    workers=$(cat "/proc/$nginx/task/$nginx/children")
    for ((i = 0; i < proxy_rounds; i++)); do
        one_round cutover $port "$proxy"
        # shellcheck disable=SC2086
        one_round nginx $nginx_port $workers
    done
    kill "$nginx"
    wait "$nginx" || true
    local what ours theirs
    ours=$(median "$work/proxy.cutover.rate") theirs=$(median "$work/proxy.nginx.rate")
    row "proxy on one core, requests per second, median" "${ours%.*}" "nginx ${theirs%.*}" "$(over "$ours" "$theirs")" "" ""
    ours=$(median "$work/proxy.cutover.cpu") theirs=$(median "$work/proxy.nginx.cpu")
    row "the same, CPU time per request" "$(printf '%.1f µs' "$ours")" "nginx $(printf '%.1f µs' "$theirs")" \
        "$(over "$ours" "$theirs")" "" ""
    ours=$(median "$work/proxy.cutover.p99") theirs=$(median "$work/proxy.nginx.p99")
    row "the same, latency p99" "$(printf '%.1f ms' "$ours")" "nginx $(printf '%.1f ms' "$theirs")" \
        "$(over "$ours" "$theirs")" "" ""
}
