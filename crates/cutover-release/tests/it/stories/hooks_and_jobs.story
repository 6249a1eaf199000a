release
  db image=v1 volume=data
  seed image=v1 after=db
  web image=v1 routes=/ hook=migrate each=warm replicas=2 after=db job=seed
release
  db image=v1 volume=data
  seed image=v1 after=db
  web image=v2 routes=/ hook=migrate each=warm replicas=2 after=db job=seed
deploy 1
status
fail hook web-pre1-2: `migrate` ended with 1
deploy 2
deploy 2
rollback
deploy 2
down
deploy 2
