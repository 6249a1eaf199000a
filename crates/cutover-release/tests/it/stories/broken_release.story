release
  web image=v1 routes=/ verify=/
release
  web image=v2 routes=/ verify=/
release
  web image=v3 routes=/ verify=/
deploy 1
deploy 2
fail verify web-3-1: GET `/` answered 500
deploy 3
status
fail healthy web-4-1: it ended with 1
deploy 3
fail image web: connection refused
deploy 3
fail switch: `web` has no healthy target
deploy 3
status
rollback
