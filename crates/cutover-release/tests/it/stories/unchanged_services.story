release
  db image=v1 volume=data
  web image=v1 routes=/ after=db
release
  db image=v1 volume=data
  web image=v2 routes=/ after=db
release
  db image=v1 volume=data
  web image=v2 routes=/shop verify=/ after=db
release
  db image=v1 volume=data
  web image=v2 routes=/shop verify=/ after=db replicas=3
deploy 1
deploy 2
status
deploy 3
deploy 4
status
rollback 2
status
