"""No secret of a NeMo-Skills job comes into its files or its output, even where a server repeats it."""

import json

import pytest
from reliability.faults import fault
from reliability.stand_in import STATISTICS, USAGE, StandIn, exposition, serving
from standin_nemo_skills import Client, settings

from nemo_skills_specdec.evaluator import generation
from nemo_skills_specdec.evaluator.job import Target, conclude_job

KEY, PASSWORD = "planted-key-0001", "planted-password-0002"
pytestmark = pytest.mark.usefixtures("nemo_skills")


def answer(handler, body, number):
    message = {"role": "assistant", "content": "ab ab"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    told = {"id": f"r{number}", "model": "m", "choices": choices, "usage": USAGE}
    handler.stand_in.book()
    handler.reply(200, json.dumps({**told, "metrics": {"speculative_decoding": STATISTICS}}).encode())


@fault(10, "a NeMo-Skills job with a key that the server's metrics repeat", "`***`", None, "all rows")
def test_a_job_keeps_its_secrets(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("SPECDEC_API_KEY", KEY)
    state = StandIn(answer, lambda state: f"# the key {KEY}, the password {PASSWORD}\n" + exposition(state))
    state.gets["/version"] = json.dumps({"version": f"0.20.0 {KEY}"}).encode()
    prompts = tmp_path / "test.jsonl"
    rows = [{"question_id": f"q{i}", "category": "c", "messages": [{"role": "user", "content": "x"}]} for i in range(3)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(state) as url:
        metrics = url.replace("//", f"//me:{PASSWORD}@") + "/metrics"
        made = settings(prompts, tmp_path / "out" / "output.jsonl", Client(url, model="m"), metrics_urls=[metrics])
        generation.task_class()(made).generate()
        evaluation = conclude_job(tmp_path / "out" / "output.jsonl", Target(url=url))
    assert evaluation.overall.num_requests == 3
    printed = "".join(capfd.readouterr())
    written = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for secret in (KEY, PASSWORD):
        assert secret not in printed
        assert [path for path, content in written.items() if secret.encode() in content] == []
