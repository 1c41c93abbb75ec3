#!/bin/sh
# Any server.py command; `run` is the default. exec keeps signals going to the shop itself.
set -eu
exec python /app/server.py "$@"
