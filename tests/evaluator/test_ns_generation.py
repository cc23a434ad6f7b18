"""The generation task on a small NeMo-Skills, against the embedded engine and its ledger."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
import requests
from standin_nemo_skills import Client, GenerationTask, settings

from nemo_skills_specdec.acceptance import counts_from_steps, total
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError, ServerError, UsageError
from nemo_skills_specdec.evaluator import generation
from nemo_skills_specdec.evaluator import task as measured_task
from nemo_skills_specdec.evaluator.attempts import (
    JobAttempt,
    attempts_of_output,
    read_attempts,
    side_by_side,
    side_file,
    write_attempts,
)
from nemo_skills_specdec.evaluator.dataset_folders import write_dataset_folder
from nemo_skills_specdec.evaluator.job import Target, conclude_job, wait_until_reachable
from nemo_skills_specdec.evaluator.rows import read_rows, records_of, responses_of
from nemo_skills_specdec.evaluator.wording import in_a_job

pytestmark = pytest.mark.usefixtures("nemo_skills")

TURNS = [["Count from one to five."], ["Name a colour.", "Another one, please."], ["What is rain?"], ["Say hello."]]


def prompts(tmp_path, turns=TURNS):
    rows = [
        {
            "question_id": f"q{number}",
            "category": "chat" if number % 2 else "facts",
            "messages": [{"role": "user", "content": text} for text in texts],
        }
        for number, texts in enumerate(turns)
    ]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def task(tmp_path, client, turns=TURNS, **changes):
    cfg = settings(prompts(tmp_path, turns), tmp_path / "out" / "output.jsonl", client, **changes)
    return generation.task_class()(cfg)


def ledger(server, identities):
    told = requests.get(f"{server.base_url}/ledger", timeout=10).json()["requests"]
    return {
        steps["request_id"]: counts_from_steps(steps["accepted"], steps["drafted"])
        for steps in told
        if steps["request_id"] in identities
    }


def output(tmp_path):
    return tmp_path / "out" / "output.jsonl"


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
def test_every_answer_is_counted_as_the_ledger_has_it(tmp_path, dialect, request):
    server = request.getfixturevalue(dialect)
    task(tmp_path, Client(server.base_url)).generate()
    rows = read_rows(output(tmp_path))
    found = responses_of(rows)
    assert found == ledger(server, found)
    assert len(found) == 5
    evaluation = conclude_job(output(tmp_path), Target(url=server.base_url))
    assert evaluation.overall.acceptance.source == "response"
    assert evaluation.overall.acceptance.num_drafts == total(found.values()).num_drafts
    assert set(evaluation.categories) == {"chat", "facts"}


def test_turns_are_replayed_with_the_models_own_answers(tmp_path, vllm):
    client = Client(vllm.base_url)
    task(tmp_path, client, [TURNS[1]]).generate()
    first, second = client.seen
    answer = records_of(read_rows(output(tmp_path))[0])[0].generation
    assert [m["role"] for m in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][:1] == first["messages"]
    assert second["messages"][1]["content"] == answer


def test_a_suffix_is_added_once_to_every_turn_and_stays_in_the_history(tmp_path, vllm):
    client = Client(vllm.base_url)
    task(tmp_path, client, [TURNS[1]], prompt_suffix=" /no_think").generate()
    contents = [m["content"] for m in client.seen[1]["messages"] if m["role"] == "user"]
    assert contents == ["Name a colour. /no_think", "Another one, please. /no_think"]


def test_sglang_is_asked_for_statistics_and_what_the_user_asks_for_stays(tmp_path, sglang):
    client = Client(sglang.base_url)
    inference = {"temperature": 0.0, "tokens_to_generate": 8, "extra_body": {"return_meta_info": False, "top_k": 5}}
    one = task(tmp_path, client, [TURNS[0]])
    one.cfg.inference.update(inference)
    one.generate()
    assert client.seen[0]["return_spec_tokens_details"] is True
    assert client.seen[0]["top_k"] == 5
    assert client.seen[0].get("return_meta_info", False) is False


def test_counters_tell_where_answers_do_not(tmp_path, vllm_counters):
    task(tmp_path, Client(vllm_counters.base_url)).generate()
    found = responses_of(read_rows(output(tmp_path)))
    assert set(found.values()) == {None}
    acceptance = conclude_job(output(tmp_path), Target(url=vllm_counters.base_url)).overall.acceptance
    whole = total(ledger(vllm_counters, found).values())
    assert acceptance.source == "counters"
    assert (acceptance.num_drafts, acceptance.num_accepted_tokens) == (whole.num_drafts, whole.num_accepted_tokens)
    assert [finding for finding in acceptance.findings if finding.severity == "invalid"] == []


def test_no_row_is_stamped_with_the_figures_of_the_run(tmp_path, vllm_counters):
    task(tmp_path, Client(vllm_counters.base_url)).generate()
    for row in read_rows(output(tmp_path)):
        assert not {"num_drafts", "acceptance_length", "acceptance_rate"} & set(row)


def test_a_run_that_broke_off_goes_on_and_all_rows_are_counted_once(tmp_path, vllm):
    with pytest.raises(ConnectionError):
        task(tmp_path, Client(vllm.base_url, fail_after=2), max_concurrent_requests=1).generate()
    assert not output(tmp_path).exists()
    assert [a.status for a in read_attempts(side_file(output(tmp_path))).attempts] == ["cut_off"]
    client = Client(vllm.base_url)
    task(tmp_path, client, max_concurrent_requests=1).generate()
    assert len(client.seen) == 4
    found = responses_of(read_rows(output(tmp_path)))
    assert found == ledger(vllm, found)
    first, second = read_attempts(side_file(output(tmp_path))).attempts
    assert (first.status, second.status) == ("cut_off", "complete")
    assert set(first.responses) | set(second.responses) == set(found)
    assert not set(first.responses) & set(second.responses)


def test_the_counters_of_both_attempts_are_added_and_what_was_cut_off_is_told(tmp_path, vllm_counters):
    url = vllm_counters.base_url
    with pytest.raises(ConnectionError):
        task(tmp_path, Client(url, fail_after=2), max_concurrent_requests=1).generate()
    # What others do between the attempts is in no window.
    requests.post(
        f"{url}/v1/completions", json={"model": "specdec-mini", "prompt": "Hello", "max_tokens": 20}, timeout=9
    )
    task(tmp_path, Client(url), max_concurrent_requests=1).generate()
    found = responses_of(read_rows(output(tmp_path)))
    acceptance = conclude_job(output(tmp_path), Target(url=url)).overall.acceptance
    wasted = total(ledger(vllm_counters, found).values()).num_drafts
    told = {finding.code: finding.severity for finding in acceptance.findings}
    assert told["attempt_cut_off"] == "warning"
    assert "invalid" not in told.values()
    # The first turn of the second row was answered, and thrown away with its row.
    assert wasted < acceptance.num_drafts < 2 * wasted


def test_an_attempt_that_was_killed_is_closed_when_the_next_begins(tmp_path, vllm_counters):
    url = vllm_counters.base_url
    with pytest.raises(ConnectionError):
        task(tmp_path, Client(url, fail_after=1), [TURNS[0], TURNS[2]], max_concurrent_requests=1).generate()
    kept = read_attempts(side_file(output(tmp_path)))
    kept.attempts[0].after, kept.attempts[0].status = [], "open"
    write_attempts(side_file(output(tmp_path)), kept)
    task(tmp_path, Client(url), [TURNS[0], TURNS[2]], max_concurrent_requests=1).generate()
    found = responses_of(read_rows(output(tmp_path)))
    acceptance = conclude_job(output(tmp_path), Target(url=url)).overall.acceptance
    assert acceptance.num_drafts == total(ledger(vllm_counters, found).values()).num_drafts
    assert read_attempts(side_file(output(tmp_path))).attempts[0].closed_late is True


def test_a_run_that_is_complete_can_be_started_again(tmp_path, vllm):
    task(tmp_path, Client(vllm.base_url)).generate()
    before = output(tmp_path).read_bytes()
    client = Client(vllm.base_url)
    task(tmp_path, client).generate()
    assert client.seen == []
    assert output(tmp_path).read_bytes() == before


def test_a_run_from_scratch_forgets_the_attempts_before(tmp_path, vllm):
    task(tmp_path, Client(vllm.base_url)).generate()
    output(tmp_path).unlink()
    task(tmp_path, Client(vllm.base_url)).generate()
    assert len(read_attempts(side_file(output(tmp_path))).attempts) == 1


def test_the_output_of_another_task_is_refused_in_one_line(tmp_path, vllm):
    output(tmp_path).parent.mkdir()
    output(tmp_path).write_text('{"generation": "x", "num_drafts": 30}\n')
    with pytest.raises(DataError, match="was not written by the generation task"):
        task(tmp_path, Client(vllm.base_url)).generate()


def test_a_prompt_that_the_server_rejects_is_kept_and_counted_and_the_others_go_on(tmp_path, vllm):
    task(tmp_path, Client(vllm.base_url, rejected="endless"), [TURNS[0], ["endless", "never sent"]]).generate()
    evaluation = conclude_job(output(tmp_path), Target(url=vllm.base_url))
    good, bad = read_rows(output(tmp_path))
    assert "error" not in good
    assert bad["error"] == "turn 0: RejectedError: this prompt is too long for the model"
    assert len(bad["requests"]) == 1
    assert (evaluation.overall.num_requests, evaluation.overall.num_failed) == (2, 1)
    assert "requests_failed" in [finding.code for finding in evaluation.overall.acceptance.findings]


def test_a_torn_last_row_is_sent_again(tmp_path, vllm):
    with pytest.raises(ConnectionError):
        task(tmp_path, Client(vllm.base_url, fail_after=3), max_concurrent_requests=1).generate()
    path = Path(f"{output(tmp_path)}-async")
    path.write_text(path.read_text() + '{"generation": "cut o')
    task(tmp_path, Client(vllm.base_url)).generate()
    assert len(read_rows(output(tmp_path))) == len(TURNS)


def test_a_server_that_tells_nothing_stops_the_run_at_the_first_answer(tmp_path):
    options = EmbeddedOptions(dialect="vllm", per_request_stats="none", disable_log_stats=True)
    with start(options) as server, pytest.raises(ServerError, match="neither the responses nor the metrics report"):
        task(tmp_path, Client(server.base_url)).generate()
    assert not output(tmp_path).exists()


def test_a_server_without_speculation_is_refused_before_anything_is_sent(tmp_path):
    with start(EmbeddedOptions(dialect="vllm", method="none")) as server:
        client = Client(server.base_url)
        with pytest.raises(ServerError, match=r"speculative decoding is off.*--speculative-config"):
            task(tmp_path, client).generate()
    assert client.seen == []


def test_metrics_that_cannot_be_had_do_not_matter_where_answers_tell(tmp_path):
    with start(EmbeddedOptions(dialect="vllm", disable_log_stats=True)) as server:
        task(tmp_path, Client(server.base_url)).generate()
        acceptance = conclude_job(output(tmp_path), Target(url=server.base_url)).overall.acceptance
    assert acceptance.source == "response"
    assert {f.code: f.severity for f in acceptance.findings}["metrics_unavailable"] == "warning"


def test_request_metric_files_are_found_by_what_the_server_says_and_joined(tmp_path, monkeypatch):
    files = tmp_path / "files"
    files.mkdir()
    # An SGLang of 0.5.8 tells in its files only: here its responses are not read.
    monkeypatch.setattr(measured_task, "count_answer", lambda record, told, info: None)
    with start(EmbeddedOptions(dialect="sglang", export_metrics_dir=str(files))) as server:
        task(tmp_path, Client(server.base_url)).generate()
        rows = read_rows(output(tmp_path))
        assert responses_of(rows) == ledger(server, responses_of(rows))
    assert {turn["counts_source"] for row in rows for turn in row["requests"]} == {"request_file"}
    assert rows[0]["num_drafts"] > 0
    booked = read_attempts(side_file(output(tmp_path))).attempts[0].responses
    assert booked == responses_of(rows)


def test_no_key_is_written_anywhere(tmp_path):
    key = "sk-very-secret-0123456789"
    with start(EmbeddedOptions(dialect="sglang", api_key=key)) as server:
        client = Client(server.base_url)
        one = task(tmp_path, client, server={"base_url": client.base_url, "server_type": "sglang", "api_key": key})
        with pytest.raises(Exception, match="401"):
            # This client sends no key; what it gets is no answer.
            one.generate()
    assert key not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_an_address_where_nothing_listens_is_told_and_not_waited_for_for_ever():
    told: list[str] = []
    with pytest.raises(ServerError, match=r"connection refused.*waited 0.2 s"):
        wait_until_reachable(Target(url="http://127.0.0.1:9/v1"), 0.2, told.append)
    assert told[0].startswith("waiting for the server")


def test_attempts_of_an_output_are_kept_beside_it(tmp_path, vllm):
    task(tmp_path, Client(vllm.base_url)).generate()
    (kept,) = attempts_of_output(output(tmp_path))
    assert kept.server.engine == "vllm"
    assert kept.arguments["temperature"] == 0.0
    assert kept.attempts[0].before[0].text.startswith("#")


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ({"base_url": "http://h:8000/v1"}, "http://h:8000/v1"),
        ({"base_url": "None", "host": "127.0.0.1", "port": 5000}, "http://127.0.0.1:5000"),
        ({"host": "node1", "port": "6000"}, "http://node1:6000"),
    ],
)
def test_the_address_is_found_in_the_settings_of_nemo_skills(server, address):
    assert measured_task.server_url(server) == address


def test_several_servers_are_refused():
    with pytest.raises(UsageError, match="one server at a time"):
        measured_task.server_url({"base_url": ["http://a", "http://b"]})


def test_the_builder_of_server_commands_adds_flags_and_is_accepted_for_grouped_jobs():
    made = generation.task_class()
    assert made.get_server_command_fn.__func__ is GenerationTask.get_server_command_fn.__func__
    command, tasks = made.get_server_command_fn()(
        server_type="sglang",
        num_gpus=8,
        num_nodes=1,
        model_path="M",
        cluster_config={"executor": "slurm"},
        server_port=5000,
        server_args="--speculative-algorithm NGRAM",
    )
    assert command.startswith("serve sglang --enable-metrics $(python3 -c ")
    assert "--export-metrics-to-file-dir /nemo_run/sglang-request-metrics-" in command
    assert command.endswith("--speculative-algorithm NGRAM")
    assert tasks == 1


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://h:8000/v1", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h:8000", "http://h:8000/v1"),
        ("h:8000", "http://h:8000/v1"),
        ("https://h/gateway/v1", "https://h/gateway/v1"),
    ],
)
def test_an_address_may_be_given_with_and_without_scheme_and_v1(given, address):
    assert measured_task.api_address(given) == address


@pytest.mark.parametrize("form", ["http://{}", "{}", "http://{}/v1"])
def test_a_server_is_measured_by_every_form_of_its_address(nemo_skills, vllm, tmp_path, form):
    write_dataset_folder("mini", tmp_path)
    client = Client(vllm.base_url)
    server = {"base_url": form.format(vllm.base_url.removeprefix("http://")), "server_type": "vllm", "model": "m"}
    cfg = settings(tmp_path / "mini" / "test.jsonl", tmp_path / "output.jsonl", client, max_samples=2, server=server)
    task = generation.task_class()(cfg)
    task.generate()
    assert cfg.server["base_url"] == f"{vllm.base_url}/v1"
    assert len(read_rows(tmp_path / "output.jsonl")) == 2


def test_a_server_of_a_type_without_a_client_gets_one(nemo_skills, vllm, tmp_path):
    write_dataset_folder("mini", tmp_path)
    client = Client(vllm.base_url)
    server = {"base_url": vllm.base_url, "server_type": "generic", "model": "m"}
    cfg = settings(tmp_path / "mini" / "test.jsonl", tmp_path / "output.jsonl", client, server=server)
    task = generation.task_class()(cfg)
    assert cfg.server["server_type"] == "vllm"
    assert task.target.engine is None


def test_prompts_are_found_beside_the_settings_where_nemo_skills_names_another_folder(tmp_path):
    folder = write_dataset_folder("mini", tmp_path)
    elsewhere = tmp_path / "site-packages" / "dataset" / "mini" / "test.jsonl"
    assert measured_task.input_of(elsewhere, str(folder)) == folder / "test.jsonl"
    assert measured_task.input_of(folder / "test.jsonl", "None") == folder / "test.jsonl"
    assert measured_task.input_of(elsewhere, tmp_path / "no") == elsewhere


def test_messages_name_options_that_ns_eval_has():
    told = in_a_job("a router: give every engine's with --metrics-url")
    assert told == "a router: give every engine's with ++metrics_urls=[...]"


def test_benchmarks_side_by_side_on_one_server_do_not_take_each_other_for_strangers(nemo_skills, vllm, tmp_path):
    rows = write_dataset_folder("mini", tmp_path) / "test.jsonl"
    outputs = [tmp_path / "eval-results" / name / "output.jsonl" for name in ("one", "two")]
    for output in outputs:
        output.parent.mkdir(parents=True)
    both_began = threading.Barrier(2)

    class Patient(Client):
        began = False

        async def generate_async(self, *given, **params):
            if not self.began:
                self.began = True
                await asyncio.to_thread(both_began.wait, 30)
            return await super().generate_async(*given, **params)

    tasks = [
        generation.task_class()(settings(rows, output, Patient(vllm.base_url), max_samples=8)) for output in outputs
    ]
    threads = [threading.Thread(target=task.generate) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for output, task in zip(outputs, tasks, strict=True):
        acceptance = conclude_job(output, task.target).overall.acceptance
        assert acceptance.num_drafts == total(responses_of(read_rows(output)).values()).num_drafts
        codes = {finding.code for finding in acceptance.findings}
        assert "counters_shared" in codes
        assert not codes & {"foreign_traffic", "sources_disagree"}


def test_jobs_one_after_the_other_or_on_other_servers_share_no_counters():
    def attempt(start, end, url):
        snapshot = Snapshot(url=url, taken_at=start)
        return JobAttempt(
            started_at=start, ended_at=end, planned_rows=1, longest_row=1, concurrency=1, before=[snapshot]
        )

    ours = [attempt(10.0, 20.0, "a")]
    beside = {
        "before": [attempt(1.0, 9.0, "a")],
        "elsewhere": [attempt(10.0, 20.0, "b")],
        "meanwhile": [attempt(19.0, 30.0, "a")],
        "still going on": [attempt(15.0, None, "a")],
    }
    assert side_by_side(ours, beside) == ["meanwhile", "still going on"]
