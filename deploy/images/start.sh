#!/bin/sh
# One process of the studio; `healthy` asks the one that runs here how it is.
set -eu
role_file=/tmp/studio-role
case "${1:-web}" in
  web) echo web > "$role_file"; exec python -m studio.serve --host 0.0.0.0 --port 8000 ;;
  dispatch) echo other > "$role_file"; exec python manage.py dispatch ;;
  work) echo other > "$role_file"; exec python manage.py work ;;
  prepare) exec python manage.py prepare ;;
  agent) echo agent > "$role_file"; exec python -m gpuagent run ;;
  healthy)
    case "$(cat "$role_file")" in
      web) exec python healthy.py http://127.0.0.1:8000/healthz ;;
      agent) exec python healthy.py http://127.0.0.1:9103/healthz ;;
      *) exit 0 ;; # these two have no port: who stops is started again by whoever watches
    esac ;;
  *) echo "web, dispatch, work, agent or prepare; not $1" >&2; exit 2 ;;
esac
