release
  db image=v1 volume=data
  web image=v1 routes=/ verify=/ after=db
release
  db image=v2 volume=data
  web image=v2 routes=/ verify=/ after=db
deploy 1
crash after 5
deploy 2
status
deploy 2
resume
status
crash before 4
rollback
resume
status
crash after 9
deploy 2
kill web-4-1
status
resume
status
crash after 7
deploy 2
kill web-5-1
kill db-5-1
resume
crash after 9
fail switch: `web` has no healthy target
deploy 2
crash before 4
resume
status
resume
