"""No secret leaves the process: every byte that a run writes, prints or raises is looked through."""

import base64
import json
import os
import subprocess
import sys

import pytest
from reliability.faults import fault
from reliability.stand_in import Handler, StandIn, exposition, plain, serving

from nemo_skills_specdec.redaction import redacted, redacted_options, secrets_of
from nemo_skills_specdec.studies.config import config_from, read_config
from nemo_skills_specdec.studies.stored_config import config_hash, with_secrets

KEY, PASSWORD, QUERY, BODY = "planted-key-0001", "planted-password-0002", "planted-query-0003", "planted-body-0004"
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
PLANTED = (KEY, PASSWORD, QUERY, BODY, BASIC)
COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]


class Echo(StandIn):
    """A server that repeats whatever it is sent in all it says."""

    def __init__(self, given: tuple[str, ...] = PLANTED, *, broken: bool = False) -> None:
        self.given = " ".join(given)
        super().__init__(echo_refused if broken else echo, echo_metrics, warm_ups=broken)
        self.said = ""


def echoed(handler: Handler, body: object) -> str:
    state = handler.stand_in
    state.said = f"{dict(handler.headers)} {handler.path} {json.dumps(body)} {state.given}"
    return state.said


def echo(handler, body, number):
    if number % 3 == 1:
        handler.reply(400, json.dumps({"error": {"message": echoed(handler, body)}}).encode())
    elif number % 3 == 2:
        handler.start_stream()
        handler.raw(f"data: {echoed(handler, body)}\n\n".encode())
    else:
        plain(handler, body, number, text=echoed(handler, body))


def echo_refused(handler, body, number):
    handler.reply(401, json.dumps({"detail": echoed(handler, body)}).encode())


def echo_metrics(state):
    return f"# HELP vllm:x {state.said} {state.given}\n" + exposition(state)


def looked_through(folder, done):
    text = (
        done.stdout
        + done.stderr
        + "".join(path.read_bytes().decode("utf-8", "replace") for path in folder.rglob("*") if path.is_file())
    )
    return [secret for secret in PLANTED if secret in text or secret.upper() in text]


def run(folder, *arguments):
    environment = {**os.environ, "SPECDEC_API_KEY": KEY}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{i}", "turns": [f"Number {i}"]}) + "\n" for i in range(6)))
    return path


def eval_options(url, prompts):
    return [
        *("eval", "--server-url", url, "--metrics-url", f"{url}/metrics?token={QUERY}", "--prompts", prompts.name),
        *("--concurrency", "2", "--output-dir", "run", "--extra-body", json.dumps({"auth": {"api_key": BODY}})),
    ]


@fault(
    10,
    "a server repeats the bearer key, `Basic` credentials, query keys and keys of `--extra-body`",
    "`***`",
    0,
    "6 rows",
)
@pytest.mark.parametrize("user", ["", f"me:{PASSWORD}@"])
def test_an_eval_on_a_server_that_repeats_everything_keeps_its_secrets(tmp_path, prompts, user):
    with serving(Echo((KEY, QUERY, BODY, *((PASSWORD, BASIC) if user else ())))) as url:
        done = run(tmp_path, *eval_options(url.replace("//", f"//{user}"), prompts))
    assert (tmp_path / "run" / "output.jsonl").read_text().count("\n") == 6
    assert "Traceback" not in done.stderr
    assert looked_through(tmp_path, done) == []


@fault(10, "a warm-up is refused with a message that repeats the password", "`***`", 2, "nothing was measured")
def test_a_server_that_refuses_the_warm_up_gives_nothing_away(tmp_path, prompts):
    with serving(Echo(broken=True)) as url:
        done = run(tmp_path, *eval_options(url.replace("//", f"//me:{PASSWORD}@"), prompts))
    assert done.returncode == 2
    assert "answered no request" in done.stderr
    assert looked_through(tmp_path, done) == []


@fault(10, "nothing listens at a URL with a password", "the URL without it", 2, "nothing was measured")
def test_a_server_that_is_not_there_gives_nothing_away(tmp_path, prompts):
    with serving(StandIn()) as url:
        pass
    done = run(tmp_path, *eval_options(url.replace("//", f"//me:{PASSWORD}@"), prompts))
    assert done.returncode == 2
    assert looked_through(tmp_path, done) == []


@fault(10, "`doctor` on a server that repeats everything", "`***`", 0, "-")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_doctor_keeps_secrets(tmp_path, more):
    state = Echo()
    state.gets["/version"] = json.dumps({"version": f"0.1 {KEY}"}).encode()
    with serving(state) as url:
        secret = url.replace("//", f"//me:{PASSWORD}@")
        done = run(tmp_path, "doctor", secret, "--metrics-url", f"{url}/metrics?token={QUERY}", *more)
    assert done.returncode == 0
    assert looked_through(tmp_path, done) == []


@fault(10, "a study whose URL holds a password", "`***` in `config.yaml` too", 0, "the summary")
def test_a_study_keeps_secrets(tmp_path, prompts):
    with serving(Echo((KEY, PASSWORD, BASIC))) as url:
        secret = url.replace("//", f"//me:{PASSWORD}@")
        options = ("--prompts", prompts.name, "--concurrency", "1,2", "--output-dir", "study")
        done = run(tmp_path, "sweep", "--server-url", secret, *options)
    assert (tmp_path / "study" / "summary.json").exists()
    assert looked_through(tmp_path, done) == []


@fault(10, "a proxy in the environment", "loopback is not sent through it, nor is the key", 0, "the summary")
def test_the_emulated_prompts_tokenizer_sends_no_key_through_a_proxy(tmp_path):
    seen = []
    with serving(StandIn()) as url:
        state = StandIn(lambda handler, body, number: seen.append(body))
        with serving(state) as proxy:
            environment = {**os.environ, "SPECDEC_API_KEY": KEY, "HTTP_PROXY": proxy, "http_proxy": proxy}
            options = ("--benchmark", "emulated", "--prompt-tokens", "20", "--num-prompts", "2", "--output-dir", "s")
            done = subprocess.run(
                [*COMMAND, "sweep", "--server-url", url, *options, "--concurrency", "1"],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
    assert done.returncode == 0, done.stderr
    assert seen == []
    assert state.asked == 0


def test_a_stored_config_gets_its_secrets_back_from_the_environment():
    stored = {"url": "http://***@h:1", "engine": "running", "metrics_urls": ["http://h:2/metrics?token=***"]}
    config = config_from({"server": stored, "sampling": {"extra_body": {"api_key": "***"}}}, "test")
    whole = with_secrets(
        config,
        {
            "SPECDEC_SERVER_URL": "http://me:pw12@h:1",
            "SPECDEC_METRICS_URLS": "http://h:2/metrics?token=abcd",
            "SPECDEC_EXTRA_BODY": '{"api_key": "k123"}',
        },
    )
    assert whole.server.url == "http://me:pw12@h:1"
    assert whole.server.metrics_urls == ["http://h:2/metrics?token=abcd"]
    assert whole.sampling.extra_body == {"api_key": "k123"}
    assert config_hash(whole) == config_hash(config)


@fault(10, "a run again from a stored config, without its secret", "`SPECDEC_SERVER_URL`", 2, "nothing was sent")
def test_a_rerun_from_a_stored_config_says_which_variable_it_needs(tmp_path, prompts):
    with serving(Echo()) as url:
        run(tmp_path, *eval_options(url.replace("//", f"//me:{PASSWORD}@"), prompts))
    assert read_config(tmp_path / "run" / "config.yaml").server.url.startswith("http://***@127.0.0.1:")
    (tmp_path / "again.yaml").write_bytes((tmp_path / "run" / "config.yaml").read_bytes())
    done = run(tmp_path, "experiment", "again.yaml", "--output-dir", "again")
    assert done.returncode == 2
    assert "put the whole value into the environment variable SPECDEC_SERVER_URL" in done.stderr


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see http://me:pw@host:1/x", "see http://***@host:1/x"),
        ("GET /metrics?token=abc&model=m", "GET /metrics?token=***&model=m"),
        ("authorization: Bearer abc.def", "authorization: Bearer ***"),
        (f"got Basic {BASIC}", "got Basic ***"),
        ("Basic authentication is needed", "Basic authentication is needed"),
        ('{"api_key": "abc"}', '{"api_key": "***"}'),
        ("max_tokens=5&stop_token=x", "max_tokens=5&stop_token=x"),
        ("hf_abcdefgh12 and sk-abcdefgh12", "hf_*** and sk-***"),
    ],
)
def test_what_looks_like_a_secret_is_masked_in_messages(text, clean):
    assert redacted(text) == clean


def test_options_are_masked_by_name_and_not_by_chance():
    given = {"api_key": "a", "nested": [{"Access-Token": "b", "eos_token": "</s>"}], "max_tokens": 5, "key": 7}
    kept = {"api_key": "***", "nested": [{"Access-Token": "***", "eos_token": "</s>"}], "max_tokens": 5, "key": 7}
    assert redacted_options(given) == kept


def test_a_secret_is_known_in_every_form_it_may_come_back_in():
    found = secrets_of(
        ["http://me:p%40ss-word@h/?key=qu%22ery"], {"X-Api-Key": "abcdef"}, [{"a": [{"secret": "wxyz"}]}]
    )
    for form in ("p%40ss-word", "p@ss-word", 'qu"ery', 'qu\\"ery', "abcdef", "wxyz"):
        assert form in found
