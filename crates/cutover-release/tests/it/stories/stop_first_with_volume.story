release
  db image=v1 volume=data
  web image=v1 routes=/ after=db
release
  db image=v2 volume=data
  web image=v1 routes=/ after=db
release
  db image=v2 volume=data
  web image=v2 routes=/ volume=uploads after=db
release
  db image=v3 volume=data
  web image=v3 routes=/ volume=uploads after=db
deploy 1
plan deploy 2
deploy 2
status
deploy 3
fail healthy db-4-1: it ended with 1
deploy 4
status
fail verify web-5-1: GET `/` answered 500
fail healthy web-5-1: not healthy after 1m
deploy 4
status
rollback 1
status
