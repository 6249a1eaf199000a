release
  web image=v1 routes=/ replicas=5 parallelism=2 delay=10s
release
  web image=v2 routes=/ replicas=5 parallelism=2 delay=10s
deploy 1
plan deploy 2
deploy 2
status
