release
  web image=v1 routes=/ verify=/ replicas=2
release
  web image=v2 routes=/ verify=/ replicas=2
plan deploy 1
deploy 1
status
deploy 2
status
rollback
status
rollback
deploy 2
status
rollback 1
status
