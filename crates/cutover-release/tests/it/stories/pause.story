release
  db image=v1 volume=data action=pause
  web image=v1 routes=/ verify=/ action=pause after=db
release
  db image=v1 volume=data action=pause
  web image=v2 routes=/ verify=/ action=pause after=db
release
  db image=v2 volume=data action=pause
  web image=v2 routes=/ verify=/ action=pause after=db
deploy 1
fail verify web-2-1: GET `/` answered 500
deploy 2
status
kill web-3-1 after switch
deploy 2
status
rollback
status
fail healthy db-5-1: it ended with 1
deploy 3
status
