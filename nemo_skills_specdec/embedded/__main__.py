"""`python -m nemo_skills_specdec.embedded '{"method": "ngram"}'`: serves the embedded engine as a process of its own.

When it answers, it prints one line of JSON on stdout: {"host": ..., "port": ...}. It ends on SIGINT and SIGTERM.
"""

import os
import sys

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def main(arguments: list[str]) -> int:
    """Runs the server; the exit code is 2 for wrong use, else 0."""
    # Matrices this small are slower on several threads. The libraries read this when numpy is first imported.
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    import asyncio
    import json
    import logging
    import signal

    from nemo_skills_specdec.embedded.options import API_KEY_VARIABLE, from_json
    from nemo_skills_specdec.embedded.server import serve
    from nemo_skills_specdec.errors import SpecdecError

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")

    def announce(host: str, port: int) -> None:
        print(json.dumps({"host": host, "port": port}), flush=True)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await serve(options, ready=announce, until=stop)

    try:
        options = from_json(arguments[0] if arguments else "{}", api_key=os.environ.pop(API_KEY_VARIABLE, None) or None)
        asyncio.run(run())
    except SpecdecError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
