release
  db image=v1 volume=data
  web image=v1 routes=/ verify=/ after=db
release
  db image=v2 volume=data
  web image=v2 routes=/ verify=/ after=db
release
  db image=v3 volume=data
  web image=v3 routes=/ verify=/ after=db
deploy 1
crash after 5
deploy 2
status
deploy 2
resume
status
crash after 11
deploy 3
status
kill web-3-1
resume
status
crash before 8
rollback
kill web-1-1
resume
status
crash after 14
deploy 3
status
resume
