release
  api image=v1 replicas=3 order=stop-first
  web image=v1 routes=/ replicas=5 parallelism=2 delay=10s order=stop-first after=api
release
  api image=v2 replicas=3 order=stop-first
  web image=v2 routes=/ replicas=5 parallelism=2 delay=10s order=stop-first after=api
deploy 1
plan deploy 2
fail healthy web-2-3: it ended with 1
deploy 2
status
deploy 2
status
rollback
status
