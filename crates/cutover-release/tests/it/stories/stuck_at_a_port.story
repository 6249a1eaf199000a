release
  db image=v1
  web image=v1 routes=/ port=80 verify=/ after=db
release
  db image=v2
  web image=v2 routes=/ port=80 verify=/ after=db
deploy 1
fail verify web-2-1: GET `/` answered 500
always fail start web-1-1: no space left on device
deploy 2
status
heal
deploy 1
status
