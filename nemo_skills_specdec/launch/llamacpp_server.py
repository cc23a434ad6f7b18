"""The child process: llama.cpp's own HTTP server through xllamacpp, until it is told to stop."""

from __future__ import annotations

import argparse
import os
import signal
import threading


def main() -> None:
    """Starts the server, prints `READY <url>`, and waits for SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--method", choices=["ngram", "none"], required=True)
    for name in ("draft-length", "ngram-size", "slots", "context", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()

    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = options.model
    parameters.model_alias = {options.alias}
    parameters.n_ctx = options.context * options.slots
    parameters.n_parallel = options.slots
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    # Every connection that a client keeps open holds a thread of the HTTP server.
    parameters.n_threads_http = 4 * options.slots + 16
    parameters.endpoint_metrics = True
    if options.method == "ngram":
        speculative = parameters.speculative
        speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        speculative.ngram_simple.size_n = options.ngram_size
        speculative.ngram_simple.size_m = options.draft_length
        speculative.ngram_simple.min_hits = 1
        speculative.draft.n_max = options.draft_length
        speculative.draft.n_min = 0

    server = xllamacpp.Server(parameters)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"READY {server.listening_address}", flush=True)
    stop.wait()
    # The threads of the C++ server have no orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
