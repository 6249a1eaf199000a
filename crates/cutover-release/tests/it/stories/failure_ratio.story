release
  web image=v1 routes=/ replicas=5 parallelism=0 ratio=0.4
release
  web image=v2 routes=/ replicas=5 parallelism=0 ratio=0.4
release
  web image=v3 routes=/ replicas=2 action=continue
deploy 1
fail healthy web-2-1: it ended with 1
fail healthy web-2-4: it ended with 1
fail healthy web-2-5: it ended with 1
deploy 2
fail healthy web-3-1: it ended with 1
fail start web-3-4: no space left on device
deploy 2
fail healthy web-4-1: it ended with 1
deploy 3
status
