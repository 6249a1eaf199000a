release
  db image=v1 volume=data
  web image=v1 routes=/ after=db verify=/
release
  db image=v1 volume=data
  web image=v1 routes=/ after=db verify=/
  cache image=v1 volume=extra
down
fail verify web-1-1: GET / answered 500 (wanted 200)
deploy 1
status
down
errors 1 90
deploy 1
status
down
heal
fail remove volume extra: device is busy
fail start cache-4-1: no space left on device
deploy 2
status
