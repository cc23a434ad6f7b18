"""Situations that public reports tell of, each with the smallest input that shows it."""

import json
from pathlib import Path

import pytest
from reliability.faults import answers_of, command, evaluate, fault, findings_of
from reliability.hostile_answers import lumps
from reliability.stand_in import USAGE, StandIn, choice, plain, serving

from nemo_skills_specdec.measurement.run import load_run

CASES = Path(__file__).parent.parent / "data" / "cases"


def difference(before, after):
    done = command("diff", CASES / before, CASES / after, "--json")
    assert done.code == 0, done.said
    told = json.loads(done.out)
    return told, {finding["code"]: finding for finding in told["findings"]}


@fault(2, "a router's own gauges under `vllm:` names", "unknown, and to give every engine's metrics", 0, "-")
def test_a_routers_own_metrics_say_nothing_of_speculation():
    told, findings = difference("router_b.txt", "router_a.txt")
    assert told.get("num_drafts") is None
    messages = " ".join(finding["message"] for finding in findings.values())
    assert "a router's own" in messages
    assert "--metrics-url" in messages
    assert "speculation_off" not in findings


@fault(2, "a run against a router that answers its own metrics", "`metrics_incomplete` or no AL", 0, "6 of 6 answers")
def test_a_run_through_a_router_is_not_one_without_speculation(tmp_path):
    text = (CASES / "router_a.txt").read_text()
    with serving(StandIn(metrics=lambda state: text)) as url:
        done = evaluate(tmp_path, url)
    assert done.code == 0, done.said
    assert "speculation_off" not in findings_of(tmp_path / "run")
    assert load_run(tmp_path / "run").evaluation.overall.acceptance.source == "response"


@fault(1, "SGLang's bounds above K + 1, since clients left", "`impossible_figures`, no AL and no middle", 0, "-")
def test_bounds_above_the_possible_are_no_bounds():
    told, findings = difference("ab_b.txt", "ab_a.txt")
    assert told.get("acceptance_length") is None
    assert findings["impossible_figures"]["severity"] == "invalid"


@fault(2, "vLLM's counters behind Ray's prefix, with more labels", "`series_prefix`, AL from the counters", 0, "-")
def test_counters_behind_rays_prefix_are_read():
    told, findings = difference("ray1_b.txt", "ray1_a.txt")
    assert (told["num_drafts"], told["acceptance_length"]) == (100, 2.5)
    assert findings["series_prefix"]["severity"] == "info"


@pytest.mark.parametrize(
    ("name", "differ"),
    [
        pytest.param(
            "k8s.log",
            False,
            marks=fault(4, "`kubectl logs --prefix` of two pods", "each by itself, and a warning", 0, "both"),
        ),
        pytest.param(
            "k8s_k.log",
            True,
            marks=fault(4, "logs of two pods with different draft lengths", "`their draft lengths differ`", 0, "both"),
        ),
    ],
)
def test_pods_in_one_log_are_told_apart(name, differ):
    done = command("parse-log", CASES / name)
    assert done.code == 0
    assert "[pod/vllm-a/vllm]" in done.out
    assert "[pod/vllm-b/vllm]" in done.out
    assert ("their draft lengths differ" in " ".join(done.out.split())) == differ


@pytest.mark.parametrize(
    ("name", "texts", "says"),
    [
        pytest.param(
            "sg_null.json",
            ["real"],
            "message 1 has no text",
            marks=fault(8, '`"value": null` in a conversation', "`message 1 has no text`, by record", 0, "the others"),
        ),
        pytest.param(
            "bom.jsonl",
            ["hello there", "second one"],
            "2 rows",
            marks=fault(8, "a byte order mark before prompts", "nothing", 0, "all rows"),
        ),
        pytest.param(
            "sg_role.jsonl",
            ["hi", "fine"],
            "2 rows",
            marks=fault(5, "`conversations` whose turns have `role` and `content`", "nothing", 0, "all rows"),
        ),
        pytest.param(
            "sg_mixed.json",
            ["one", "fine", "two"],
            "message 1 is a text without a role",
            marks=fault(
                5, "`conversations` of several shapes in one file", "what is left out and why", 0, "the others"
            ),
        ),
    ],
)
def test_prompts_are_read_whatever_their_shape(tmp_path, name, texts, says):
    done = command("prepare", CASES / name, "--output-dir", tmp_path / "out")
    assert done.code == 0, done.said
    assert says in done.err
    rows = [json.loads(line) for line in (tmp_path / "out" / "test.jsonl").read_text().splitlines()]
    found = [row["messages"][0]["content"] for row in rows]
    assert [text for text in texts if text not in found and text != "two"] == []
    assert "None" not in found


def test_a_stream_in_two_lumps_gives_no_speeds(tmp_path):
    with serving(StandIn(lumps)) as url:
        evaluate(tmp_path, url)
    speed = load_run(tmp_path / "run").evaluation.overall.speed
    assert (speed.ttft_seconds, speed.tpot_seconds, speed.user_tokens_per_second) == (None, None, None)


@fault(5, "an endpoint that refuses `max_tokens`", "nothing, with `null` for it in `--extra-body`", 0, "6 of 6 answers")
def test_null_takes_a_field_away(tmp_path):
    def answer(handler, body, number):
        if "max_tokens" in body:
            handler.reply(400, b'{"error": {"message": "use max_completion_tokens instead"}}')
        else:
            plain(handler, body, number)

    state = StandIn(answer, warm_ups=True)
    with serving(state) as url:
        refused = evaluate(tmp_path, url)
        given = json.dumps({"max_tokens": None, "max_completion_tokens": 64})
        done = evaluate(tmp_path, url, "--extra-body", given)
    assert refused.code == 2
    assert "use max_completion_tokens instead" in refused.err
    assert done.code == 0, done.said
    assert answers_of(tmp_path / "run") == 6
    assert {body.get("max_completion_tokens") for body in state.bodies[-6:]} == {64}
    assert "at most 64 tokens" in done.err


@fault(5, "a turn of reasoning alone, and a turn after it", "no empty message is fed back", 0, "both turns")
def test_an_answer_without_text_is_not_fed_back_as_an_empty_message(tmp_path):
    def reasoning(handler, body, number):
        handler.start_stream()
        handler.event(choice(reasoning_content="hm"))
        handler.event(choice("stop"))
        handler.stand_in.book()
        handler.event([], usage=USAGE)
        handler.raw(b"data: [DONE]\n\n")

    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"id": "a", "turns": ["first", "second"]}\n')
    state = StandIn(reasoning)
    with serving(state) as url:
        done = evaluate(tmp_path, url)
    assert done.code == 0, done.said
    assert [message["role"] for message in state.bodies[-1]["messages"]] == ["user", "user"]
    assert answers_of(tmp_path / "run") == 2
