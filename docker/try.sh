#!/bin/sh
# See find and retrieve work: store three example studies in the test PACS, ask for them, and
# have them sent to the listener.   docker compose run --rm try
set -eu

pacs=ORTHANC@pacs:4242

wait_for() {
    seconds=0
    until px-echo -q --aet HEALTHCHECK "$1" 2>/dev/null; do
        seconds=$((seconds + 1))
        if [ "$seconds" -ge 60 ]; then
            exec px-echo --aet HEALTHCHECK "$1"
        fi
        sleep 1
    done
}

wait_for "$pacs"
wait_for PYPX@127.0.0.1:10402

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

run px demo --samples /tmp/studies
run px store "$pacs" /tmp/studies
run px-find "$pacs" -k 'PatientID=DEMO-*' --tree
run px retrieve "$pacs" -k 'PatientID=DEMO-*' --method move --host 0.0.0.0
run px ls --tree
