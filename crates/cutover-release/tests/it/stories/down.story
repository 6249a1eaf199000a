release
  db image=v1 volume=data
  web image=v1 routes=/ after=db
release
  db image=v1 volume=data
  web image=v2 routes=/ after=db
down
deploy 1
deploy 2
plan down
down
status
rollback
down
deploy 2
status
