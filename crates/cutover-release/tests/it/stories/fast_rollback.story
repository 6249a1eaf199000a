release
  cache image=v1
  mail image=v1
  web image=v1 routes=/ replicas=2 standby=frozen after=cache
release
  cache image=v1
  mail image=v2
  web image=v2 routes=/ replicas=2 standby=frozen after=cache
deploy 1
deploy 2
status
plan rollback
rollback
status
taint web-2-1
plan rollback 2
