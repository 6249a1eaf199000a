release
  db image=v1 volume=data
  web image=v1 routes=/ after=db
release
  db image=v2 volume=data
  web image=v1 routes=/ after=db
release
  db image=v2 volume=data
  web image=v2 routes=/ after=db
deploy 1
fail switch: the proxy does not answer
always fail start db-1-1: data directory was upgraded
deploy 2
status
heal
deploy 2
status
kill web-4-1 after switch
always fail healthy web-1-1: connection refused
deploy 3
status
heal
deploy 3
status
