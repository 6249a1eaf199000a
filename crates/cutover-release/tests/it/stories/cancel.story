release
  web image=v1 routes=/ monitor=5s
release
  web image=v2 routes=/ monitor=5s
deploy 1
cancel at healthy web-2-1
deploy 2
status
cancel at drain web
deploy 2
status
