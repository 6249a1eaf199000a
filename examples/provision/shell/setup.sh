#!/bin/sh
# Runs in the container, as root, in this folder. Build arguments are variables.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends nginx-light
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
echo "${greeting:-hello} from a script" >/var/www/html/index.html
