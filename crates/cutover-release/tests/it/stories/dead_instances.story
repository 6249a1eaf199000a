release
  web image=v1 routes=/ verify=/ replicas=2
release
  web image=v2 routes=/ verify=/ replicas=2
deploy 1
kill web-2-1 after healthy web-2-1
deploy 2
status
kill web-3-2 after verify web-3-2
deploy 2
status
kill web-4-2 after switch
deploy 2
status
kill web-1-1 after switch
kill web-5-1 after switch
deploy 2
status
