release
  a image=v1 after=b
  b image=v1 after=c
  c image=v1 after=a
release
  web image=v1 port=80 order=start-first
release
  web image=v2 port=80 order=start-first
release
  web image=v3 port=80 replicas=2
release
  web image=v1 port=80
deploy 1
rollback
deploy 2
deploy 2
deploy 3
deploy 4
rollback
rollback 2
rollback 7
plan deploy 5
