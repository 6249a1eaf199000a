#!/bin/bash
# Runs php-fpm and nginx; when either ends the container ends. On SIGTERM nginx finishes the
# requests it has (QUIT) before php-fpm goes.
set -u
php-fpm8.2 --nodaemonize &
php=$!
nginx -g 'daemon off;' &
nginx=$!
stop() {
    kill -QUIT "$nginx" 2>/dev/null
    wait "$nginx"
    kill -QUIT "$php" 2>/dev/null
    wait "$php"
    exit 0
}
trap stop TERM INT
wait -n
echo "start: nginx or php-fpm ended" >&2
kill "$nginx" "$php" 2>/dev/null
exit 1
