"""python -m lab.simulator --port 8150: serve until told to stop. Secrets come by the environment (SIMULATOR_SECRET, ...)."""

import argparse
import os

from aiohttp import web

from lab.simulator import Simulator, build


def main() -> None:
    """Serve on loopback only."""
    parser = argparse.ArgumentParser(prog="python -m lab.simulator", description="Stand-ins for n8n and WeChat")
    parser.add_argument("--port", type=int, default=8150)
    given = parser.parse_args()
    simulator = Simulator(
        secret=os.environ.get("SIMULATOR_SECRET", "simulator"), signing_secret=os.environ.get("SIMULATOR_SIGNING_SECRET", ""),
        app_id=os.environ.get("SIMULATOR_APP_ID", ""), app_secret=os.environ.get("SIMULATOR_APP_SECRET", ""),
    )  # fmt: skip
    web.run_app(build(simulator), host="127.0.0.1", port=given.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
