"""Records what the embedded engine answers to `eval`, for replaying: `python tests/golden/record_answers.py`.

A proxy stands between both. It lets one request through at a time, and takes the metrics on either side of it, so that
it is known what each answer adds to the counters.
"""

import gzip
import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from golden_cases import GOLDEN, PROMPTS, run
from golden_standin import added_between, key_of

from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions

ENGINES = {
    "vllm": EmbeddedOptions(),
    "vllm-counters": EmbeddedOptions(per_request_stats="none", method="ngram", draft_length=4),
    "sglang": EmbeddedOptions(dialect="sglang"),
}


def record(options: EmbeddedOptions) -> dict[str, Any]:
    with start(options) as engine:
        lock = threading.Lock()
        told: dict[str, Any] = {"gets": {}, "answers": {}, "added": {}}

        def metrics() -> str:
            return requests.get(engine.metrics_url, timeout=30).text

        told["before"] = metrics()

        class Proxy(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = requests.get(engine.base_url + self.path, timeout=30)
                if self.path != "/metrics" and answer.status_code == 200:
                    told["gets"][self.path] = answer.text
                self.reply(answer)

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    before = metrics()
                    answer = requests.post(engine.base_url + self.path, json=asked, timeout=60)
                    key = key_of(asked["messages"])
                    if not asked["messages"][0]["content"].startswith("Warm-up"):
                        told["answers"][key] = [frame + "\n\n" for frame in answer.text.split("\n\n") if frame]
                        told["added"][key] = added_between(before, metrics())
                self.reply(answer)

            def reply(self, answer: requests.Response) -> None:
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with tempfile.TemporaryDirectory() as folder:
            code, _, error = run(
                "eval", "--server-url", f"http://127.0.0.1:{server.server_address[1]}", "--concurrency", "4",
                "--prompts", str(PROMPTS), "--max-tokens", "24", "--output-dir", f"{folder}/run", "--no-by-category",
            )  # fmt: skip
        server.shutdown()
        assert code == 0, error
    return told


if __name__ == "__main__":
    (GOLDEN / "answers").mkdir(parents=True, exist_ok=True)
    for name, options in ENGINES.items():
        packed = gzip.compress(json.dumps(record(options)).encode(), mtime=0)
        (GOLDEN / "answers" / f"{name}.json.gz").write_bytes(packed)
