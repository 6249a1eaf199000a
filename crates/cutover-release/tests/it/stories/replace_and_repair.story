release
  db image=v1 volume=data
  web image=v1 routes=/ replicas=2 after=db
deploy 1
repair
taint web-1-2
deploy 1
replace web
status
kill web-2-1
repair
status
kill db-1-1
repair
replace
status
replace nothing
