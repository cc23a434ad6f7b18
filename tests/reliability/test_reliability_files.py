"""Files that are damaged, of another kind, or not there: one line says what is wrong, and nothing else is lost."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reliability.faults import answers_of, command, evaluate, fault, prompt_file
from reliability.stand_in import StandIn, serving

from nemo_skills_specdec.errors import SpecdecError
from nemo_skills_specdec.measurement.resume import read_earlier
from nemo_skills_specdec.measurement.run import load_run
from nemo_skills_specdec.studies.config import read_config, resolve
from nemo_skills_specdec.studies.failure import read_failure

DEEP = b"[" * 100_000
LOG = (
    "INFO 11-22 19:16:20 [metrics.py:101] SpecDecoding metrics: Mean acceptance length: 2.50, Accepted throughput: "
    "60.00 tokens/s, Drafted throughput: 120.00 tokens/s, Accepted: 600 tokens, Drafted: 1200 tokens, Per-position "
    "acceptance rate: 0.750, 0.500, 0.250, Avg Draft acceptance rate: 50.0%\n"
)


def bad(kind, what, content, says, *, name="p.jsonl", code=2, kept="nothing was sent"):
    return pytest.param(content, name, says, code, marks=fault(kind, what, f"`{says}`", code, kept), id=what)


@pytest.mark.parametrize(
    ("content", "name", "says", "code"),
    [
        bad(8, "a file of prompts that is not there", None, "No such file"),
        bad(8, "an empty file of prompts", b"", "no prompt"),
        bad(8, "a file of prompts that is binary", bytes(range(256)) * 8, "p.jsonl"),
        bad(8, "prompts nested 100,000 deep", DEEP, "p.jsonl"),
        bad(8, "a line of prompts that is cut off", b'{"id": "a", "turns": ["x"]}\n{"id": "b", "tu', "line 2"),
        bad(8, "prompts that are numbers", b"1\n2\n", "line 1"),
        bad(8, "two prompts of one id", b'{"id":"a","turns":["x"]}\n{"id":"a","turns":["y"]}\n', "duplicate id"),
        bad(8, "a gzip file that is cut off", b"\x1f\x8b\x08\x00abc", "p.jsonl.gz", name="p.jsonl.gz"),
        bad(8, "a Parquet file that is none", b"PAR1nothing", "p.parquet", name="p.parquet"),
        bad(8, "a table without a column of prompts", b"a,b\n1,2\n", "p.csv", name="p.csv"),
        bad(8, "a file of prompts of an unknown kind", b"x", "p.exe", name="p.exe"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_before_anything_is_sent(tmp_path, content, name, says, code):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    state = StandIn()
    with serving(state) as url:
        done = command("eval", "--server-url", url, "--prompts", path, "--output-dir", tmp_path / "run")
    assert done.code == code, done.said
    assert says in done.err
    assert "Traceback" not in done.err
    assert state.bodies == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "says", "code"),
    [
        pytest.param(
            LOG.encode("utf-16"),
            "acceptance length AL     2.5000",
            0,
            marks=fault(2, "a log in UTF-16", "AL", 0, "all intervals"),
        ),
        pytest.param(
            LOG.encode("utf-8-sig"),
            "acceptance length AL     2.5000",
            0,
            marks=fault(2, "a log with a byte order mark", "AL", 0, "all intervals"),
        ),
        pytest.param(
            LOG.replace("\n", "\r\n").encode(),
            "acceptance length AL     2.5000",
            0,
            marks=fault(2, "a log with carriage returns", "AL", 0, "all intervals"),
        ),
        pytest.param(
            b"\x1b[32m" + LOG.encode(),
            "acceptance length AL     2.5000",
            0,
            marks=fault(2, "a log with colours", "AL", 0, "all intervals"),
        ),
        pytest.param(
            (
                LOG.replace("INFO", "(ServeReplica:a:b pid=1) INFO")
                + LOG.replace("INFO", "(ServeReplica:a:b pid=2) INFO")
            ).encode(),
            "2 servers or processes",
            0,
            marks=fault(4, "the log of two Ray replicas", "`2 servers or processes`, each by itself", 0, "both"),
        ),
        pytest.param(
            (
                LOG.replace("INFO", "Nov 22 19:16:20 host-a vllm[1]: INFO")
                + LOG.replace("INFO", "Nov 22 19:16:20 host-b vllm[1]: INFO")
            ).encode(),
            "2 servers or processes",
            0,
            marks=fault(4, "journald's log of two hosts", "`2 servers or processes`, each by itself", 0, "both"),
        ),
        pytest.param(
            ("vllm-1  | " + LOG + "vllm-2  | " + LOG).encode(),
            "2 servers or processes",
            0,
            marks=fault(4, "docker compose's log of two services", "`2 servers or processes`", 0, "both"),
        ),
        pytest.param(b"nothing here\n", "no ", 2, marks=fault(2, "a log without a line of speculation", "why", 2, "-")),
        pytest.param(b"", "", 2, marks=fault(2, "an empty log", "why", 2, "-")),
        pytest.param(bytes(range(256)), "", 2, marks=fault(8, "a log that is binary", "why", 2, "-")),
    ],
)
def test_logs_are_read_as_far_as_they_can_be(tmp_path, content, says, code):
    path = tmp_path / "vllm.log"
    path.write_bytes(content)
    done = command("parse-log", path)
    assert done.code == code, done.said
    assert says in done.said
    assert "Traceback" not in done.said


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "", marks=fault(8, "an empty configuration", "which file", 2, "nothing was sent")),
        pytest.param(
            b"- a\n- b\n", "", marks=fault(8, "a configuration that is a list", "which file", 2, "nothing was sent")
        ),
        pytest.param(
            b"a: [\n", "", marks=fault(8, "a configuration that is no YAML", "which file", 2, "nothing was sent")
        ),
        pytest.param(
            DEEP, "", marks=fault(8, "a configuration nested 100,000 deep", "which file", 2, "nothing was sent")
        ),
        pytest.param(
            b"modle: {path: x}\n",
            "modle",
            marks=fault(8, "an unknown key in a configuration", "`modle`", 2, "nothing was sent"),
        ),
        pytest.param(
            b"load: {concurrency: many}\n",
            "concurrency",
            marks=fault(8, "a text for a number in a configuration", "`concurrency`", 2, "nothing was sent"),
        ),
        pytest.param(
            b"a: &a [*a]\n",
            "",
            marks=fault(8, "a configuration that holds itself", "which file", 2, "nothing was sent"),
        ),
    ],
)
def test_configurations_that_cannot_be_used_are_named(tmp_path, content, says):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    done = command("experiment", path, "--output-dir", tmp_path / "study")
    assert done.code == 2, done.said
    assert says in done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run directory."""
    folder = tmp_path_factory.mktemp("finished")
    prompt_file(folder)
    with serving(StandIn()) as url:
        assert evaluate(folder, url).code == 0
    return folder / "run"


def copied(finished, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in finished.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(finished)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json", "output.jsonl"])
@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("cut off", lambda content: content[: len(content) // 2 - 3]),
        ("empty", lambda content: b""),
        ("nested 100,000 deep", lambda content: DEEP),
        ("of another kind", lambda content: b'{"a": 1}\n'),
        ("gone", None),
    ],
)
def test_a_damaged_run_is_named(finished, tmp_path, name, what, damage):
    folder = copied(finished, tmp_path)
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
    if name == "output.jsonl" and what == "empty":
        assert load_run(folder).rows == []
        return
    done = command("compare", folder, folder)
    assert done.code == 2, done.said
    assert str(folder) in done.err
    assert "Traceback" not in done.err


for _name in ("manifest.json", "metrics.json", "output.jsonl"):
    for _what in ("cut off", "nested 100,000 deep", "gone"):
        row = fault(8, f"`{_name}` is {_what} in a run that is compared", "which file and why", 2, "the run")
        test_a_damaged_run_is_named = row(test_a_damaged_run_is_named)


@fault(8, "an unfinished run whose answers are damaged", "`cannot resume`", 2, "what is there")
@pytest.mark.parametrize("content", [b'{"a": 1}\n', DEEP + b"\n", b"\xff\xfe\n", b"null\n"])
def test_an_unfinished_run_that_cannot_be_read_is_left_alone(finished, tmp_path, content):
    folder = copied(finished, tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    (folder / "answers.jsonl").write_bytes(content)
    (folder / "metrics.json").unlink()
    with serving(StandIn()):
        done = command("eval", "--resume", folder)
    assert done.code == 2, done.said
    assert "Traceback" not in done.err
    assert (folder / "answers.jsonl").read_bytes() == content


@fault(8, "a `failed.json` that is damaged", "`cannot be read`", 1, "the other runs of the study")
def test_a_damaged_failure_is_told_as_one(tmp_path):
    prompt_file(tmp_path)
    with serving(StandIn()) as url:
        options = ("--prompts", tmp_path / "prompts.jsonl", "--concurrency", "2", "--output-dir", tmp_path / "study")
        assert command("sweep", "--server-url", url, *options).code == 0
        (run,) = (tmp_path / "study" / "runs").iterdir()
        (run / "failed.json").write_bytes(DEEP)
        done = command("sweep", "--server-url", url, *options)
    assert done.code == 1
    assert "Traceback" not in done.said
    assert answers_of(run) == 6


# Whatever stands in a file, nothing is raised but the package's own errors, in one line.

KEYS = st.sampled_from(
    [
        "model",
        "path",
        "name",
        "method",
        "server",
        "engine",
        "url",
        "benchmark",
        "prompts",
        "sampling",
        "temperature",
        "extra_body",
        "load",
        "concurrency",
        "request_rate",
        "repeat",
        "seed",
        "warmup",
        "question_id",
        "turn",
        "counts",
        "num_drafts",
        "outcome",
        "error",
        "steps",
        "requests",
        "status",
        "attempts",
        "snapshots",
        "file",
        "number",
        "first_set",
        "last_set",
        "arguments",
        "prompts_sha256",
        "config_hash",
        "at",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**20),
    st.floats(),
    st.sampled_from(["", "none", "running", "http://h:1", "mini", "\ud800", "x" * 300, "../..", "\x1b[2J"]),
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=20
)
CONTENT = st.one_of(JSON.map(json.dumps).map(str.encode), st.binary(max_size=60), st.just(DEEP))


def mutated(content, draw):
    """The content with a piece cut out, replaced or doubled."""
    start, end = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
    return (
        content[:start]
        + draw(st.sampled_from([b"", b"null", b"-1", b'"x"', b"1e999", content[start:end] * 2]))
        + content[end:]
    )


@settings(max_examples=100)
@given(content=CONTENT)
def test_no_configuration_raises_anything_else(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content)
    with contextlib.suppress(SpecdecError):
        resolve(read_config(path))


@settings(max_examples=100)
@given(content=CONTENT)
def test_no_failure_raises_anything(tmp_path_factory, content):
    (tmp_path_factory.getbasetemp() / "failed.json").write_bytes(content)
    assert isinstance(read_failure(tmp_path_factory.getbasetemp()), str)


@settings(max_examples=60)
@given(data=st.data())
def test_no_damaged_run_raises_anything_else(finished, data):
    folder = finished.parent / "fuzzed"
    folder.mkdir(exist_ok=True)
    (folder / "snapshots").mkdir(exist_ok=True)
    for path in finished.rglob("*.txt"):
        (folder / "snapshots" / path.name).write_bytes(path.read_bytes())
    victim = data.draw(st.sampled_from(["manifest.json", "metrics.json", "output.jsonl"]))
    for name in ("manifest.json", "metrics.json", "output.jsonl"):
        content = (finished / name).read_bytes()
        (folder / name).write_bytes(mutated(content, data.draw) if name == victim else content)
    with contextlib.suppress(SpecdecError):
        load_run(folder).recompute()


@settings(max_examples=60)
@given(data=st.data())
def test_no_damaged_log_of_answers_raises_anything_else(finished, data):
    folder = finished.parent / "unfinished"
    folder.mkdir(exist_ok=True)
    manifest = json.loads((finished / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    records = [record for row in load_run(finished).rows for record in row.requests]
    content = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    (folder / "answers.jsonl").write_bytes(
        data.draw(CONTENT) if data.draw(st.booleans()) else mutated(content, data.draw)
    )
    with contextlib.suppress(SpecdecError):
        assert read_earlier(folder) is not None
