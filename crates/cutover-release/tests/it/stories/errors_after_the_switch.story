release
  web image=v1 routes=/ monitor=30s
release
  web image=v2 routes=/ monitor=30s
release
  web image=v3 routes=/ monitor=30s
errors 1 60
deploy 1
errors 1 4
deploy 1
errors 2 8
deploy 2
errors 3 14
deploy 3
status
errors 1 30
rollback
status
