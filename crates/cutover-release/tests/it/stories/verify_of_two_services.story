release
  api image=v1 routes=/api verify=/ready
  web image=v1 routes=/ verify=/ try=smoke after=api
release
  api image=v2 routes=/api verify=/ready
  web image=v2 routes=/ verify=/ try=smoke after=api
deploy 1
fail verify web-verify2-2: `smoke` ended with 1
deploy 2
status
deploy 2
status
