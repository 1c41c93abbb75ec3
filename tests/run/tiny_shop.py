"""A shop of a few lines, to watch the supervisor at work without the real one: prepare, web, worker."""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core import run
from core.config import Config, SetupProblem

COMMAND = [sys.executable, __file__]


def app():
    async def answer(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        found = scope["path"] == "/readyz"
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

    return answer


def main() -> int:
    config = Config.from_env()
    match sys.argv[1:]:
        case ["run"]:
            return run.run(config, COMMAND)
        case ["prepare"]:
            if os.environ.get("TINY_PREPARE") == "fails":
                print("the tables could not be made", file=sys.stderr)
                return 1
            print(json.dumps({"setup_link": f"{config.base_url}/admin/setup?k=1", "key_made": True}))
            return 0
        case ["web", "--go", go, "--listener", number]:
            run.wait_for_go(int(go))
            return run.web(config, COMMAND, app, listener=int(number))
        case ["worker"]:
            signal.pause()
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SetupProblem as problem:
        sys.exit(str(problem))
