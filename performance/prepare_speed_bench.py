"""What preparing SPEED-Bench costs, side by side with the upstream script, on one stand-in hub.

Both read invented data from the same servers on this machine, in files whose sizes have the proportions of the real
ones. Counted are bytes that the servers sent, wall time and peak memory. The upstream script and its Python are named
by the environment, see tests/prompts/speed_bench/upstream.py; `--upstream none` measures this tool alone.

    python performance/prepare_speed_bench.py --config throughput_1k
    python performance/prepare_speed_bench.py --config qualitative --scale 0.1 --last-problem 0.5
"""

# ruff: noqa: E402 - the stand-in servers are found through sys.path
from __future__ import annotations

import argparse
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests/prompts/hub"), str(REPOSITORY / "tests/prompts/speed_bench")]

from invented import SHA, Invented, raw
from standin_hub import Repo, StandIn, running
from upstream import command_mo, command_ns

from nemo_skills_specdec.prompts.speed_bench.schema import CONFIGS, token_budget
from nemo_skills_specdec.prompts.speed_bench.texts import read_texts

MB = 1_000_000
LIVECODEBENCH = (1_252_609_773, 713_377_060, 623_360_766, 1_204_644_685, 557_699_297, 134_303_240)
"""Sizes of the real files, in bytes."""
PROBLEMS = 1055
CNN_TRAIN, CNN_TEST = 770 * MB, 30 * MB
CONTESTS_TRAIN, CONTESTS_TEST = 2_300 * MB, 30 * MB
OPUS_TRAIN = 100 * MB
HLE_ROWS, HLE_IMAGES, HLE_IMAGE = 2_500, 342, 750_000
"""Estimates but for LiveCodeBench: the other sets' cards give rounded sizes."""

STOCK = [a + b + c for a in "bdfglmnprst" for b in ("a", "e", "io", "ou") for c in ("", "n", "rt", "sh", "lly")]

LAUNCHER = """
import os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
# A process counts the memory of the one that started it as its own peak, so a small one stands between.

OURS = """
import sys
from pathlib import Path
from nemo_skills_specdec.prompts.preparation import PrepareOptions, prepare
results = prepare(PrepareOptions(name="speed-bench", config={config!r}, output_dir=Path({out!r}), revision={sha!r},
    flavor={flavor!r}, texts_from=Path({texts!r}), cache_dir=Path({cache!r}), allow_host=[{plain!r}],
    allow_unknown_texts=True),
    lambda line: print(line, file=sys.stderr))
"""


def prose(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(STOCK, k=count)) + "."


def noise(rng: random.Random, size: int) -> str:
    return base64.b64encode(rng.randbytes(size * 3 // 4)).decode()


def write_parquet(hub: StandIn, repo_id: str, path: str, batches: Iterator[list[dict[str, Any]]], group: int) -> None:
    place = hub.root / "datasets" / repo_id / path
    place.parent.mkdir(parents=True, exist_ok=True)
    writer: pq.ParquetWriter | None = None
    for batch in batches:
        table = pa.Table.from_pylist(batch)
        writer = writer or pq.ParquetWriter(place, table.schema)
        writer.write_table(table, row_group_size=group)
    assert writer is not None
    writer.close()
    hub.repos.setdefault(repo_id, Repo())


def pad_hle(hub: StandIn, rng: random.Random) -> None:
    """Full size: 2,500 questions, 342 of them with an image, in row groups of 100."""
    pictured = set(rng.sample(range(HLE_ROWS), HLE_IMAGES))

    def batches() -> Iterator[list[dict[str, Any]]]:
        for start in range(0, HLE_ROWS, 100):
            yield [
                {
                    "id": f"hle-{n}",
                    "question": prose(rng, 90),
                    "image": "data:image/png;base64," + noise(rng, HLE_IMAGE) if n in pictured else "",
                    "image_preview": rng.randbytes(20_000) if n in pictured else b"",
                    "answer": "a",
                    "rationale": prose(rng, 160),
                    "category": f"Category {n % 8}",
                }
                for n in range(start, start + 100)
            ]

    write_parquet(hub, "cais/hle", "data/test-00000-of-00001.parquet", batches(), 100)


def pad_tables(hub: StandIn, rng: random.Random, scale: float) -> None:
    def rows(make: Any, count: int, size: float) -> Iterator[list[dict[str, Any]]]:
        each = max(1, int(size * scale / count))
        for start in range(0, count, 500):
            yield [make(n, each) for n in range(start, min(count, start + 500))]

    def article(n: int, size: int) -> dict[str, Any]:
        return {"article": noise(rng, size), "highlights": noise(rng, size // 10), "id": f"cnn-{n}"}

    def problem(n: int, size: int) -> dict[str, Any]:
        return {"name": f"problem {n}", "description": prose(rng, 200), "tests": noise(rng, size)}

    def pair(n: int, size: int) -> dict[str, Any]:
        return {"translation": {"de": noise(rng, size // 2), "en": noise(rng, size // 2)}}

    cnn, contests, opus = "abisee/cnn_dailymail", "deepmind/code_contests", "Helsinki-NLP/opus-100"
    write_parquet(hub, cnn, "3.0.0/test-00000-of-00001.parquet", rows(article, 1_000, CNN_TEST), 100)
    write_parquet(hub, cnn, "3.0.0/train-00000-of-00001.parquet", rows(article, 5_000, CNN_TRAIN), 1_000)
    write_parquet(hub, contests, "data/test-00000-of-00001-abc.parquet", rows(problem, 165, CONTESTS_TEST), 100)
    write_parquet(hub, contests, "data/train-00000-of-00001-abc.parquet", rows(problem, 2_000, CONTESTS_TRAIN), 1_000)
    write_parquet(hub, opus, "de-en/train-00000-of-00001.parquet", rows(pair, 20_000, OPUS_TRAIN), 1_000)


def pad_livecodebench(hub: StandIn, rng: random.Random, scale: float, last: float) -> None:
    """The five problems lie evenly between the beginning and `last`, a fraction of all bytes."""
    total = sum(LIVECODEBENCH)
    wanted = [int(last * (PROBLEMS - 1) * part / 4) for part in range(5)]
    number = 0
    for index, size in enumerate(LIVECODEBENCH, start=1):
        count = round(PROBLEMS * size / total) if index < 6 else PROBLEMS - number
        name = "test.jsonl" if index == 1 else f"test{index}.jsonl"
        place = hub.root / "datasets/livecodebench/code_generation_lite" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w") as file:
            for _ in range(count):
                record = {
                    "question_title": "t",
                    "question_content": prose(rng, 200),
                    "question_id": f"wanted-{wanted.index(number)}" if number in wanted else f"lcb-{number}",
                    "starter_code": "",
                    "private_test_cases": noise(rng, int(size * scale / count)),
                }
                file.write(json.dumps(record) + "\n")
                number += 1


def pad_plain_files(plain: StandIn, rng: random.Random, ts_old: str, rows: int, thousands: int) -> None:
    """Files of twice as many records as are needed, each about as long as a prompt of the config."""

    def write(path: str, data: str) -> None:
        place = plain.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(data)

    dialogues = [{"title": "t", "content": prose(rng, 700 * thousands)} for _ in range(2 * rows)]
    write("RUCAIBox/BAMBOO/lines.jsonl", "".join(json.dumps(record) + "\n" for record in dialogues))
    select = [
        {
            "question_id": f"select-{n}",
            "question": prose(rng, 100),
            "all_answers": [prose(rng, 60 * thousands) for _ in range(8)],
            "answer": f"A{n % 8 + 1}",
        }
        for n in range(2 * rows)
    ]
    write("AdaLEval/stackselect/test.json", json.dumps(select))
    sort = [{"prompt": ts_old + prose(rng, 450 * thousands), "answer": "[1]"} for _ in range(2 * rows)]
    write("AdaLEval/textsort/test.json", json.dumps(sort))


def publish(hub: StandIn, plain: StandIn, invented: Invented, config: str, rows: int) -> None:
    """Rows of one config: throughput with `rows` of each masked source and as many open ones."""
    import numpy as np

    masked = invented.masked()
    if config == "qualitative":
        made = [row for row in invented.rows["qualitative"] if "livecodebench" not in row["source"]]
        lcb = "livecodebench/code_generation_lite"
        made += [raw(f"l{n}", "coding", lcb, f"wanted-{n}", invented.masked("Do {question}")) for n in range(5)]
        cnn = [invented.masked("Short: {article}")] * 80
        made += [raw(f"c{n}", "qa", "abisee/cnn_dailymail", f"cnn-{n * 12}", turns) for n, turns in enumerate(cnn)]
        made += [raw(f"h{n}", "stem", "cais/hle", f"hle-{n * 12}", masked) for n in range(208)]
    else:
        asked = [int(n) for n in np.random.default_rng(42).permutation(HLE_ROWS)[: HLE_ROWS // 2]]
        url, thousands = plain.url, thousands_of(config)
        made = []
        for n in range(rows):
            made += [
                raw(f"o{n}", "low_entropy", "repobench", "r_0", [prose(random.Random(n), 320 * thousands)]),
                raw(f"h{n}", "mixed", "cais/hle", f"hle-{asked[n]}", masked),
                raw(f"s{n}", "mixed", f"{url}/AdaLEval/stackselect/test.json", f"select-{2 * n}", masked),
                raw(f"t{n}", "low_entropy", f"{url}/AdaLEval/textsort/test.json", f"textsort_{2 * n}", masked),
                raw(f"b{n}", "high_entropy", f"{url}/RUCAIBox/BAMBOO/lines.jsonl", f"bamboo_{2 * n}", masked),
            ]
    place = hub.root / f"datasets/nvidia/SPEED-Bench/{config}/test-00000-of-00001.parquet"
    place.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(made), place)


def thousands_of(config: str) -> int:
    return (token_budget(config) or 0) // 1000


class Cost:
    """What a run took."""

    def __init__(self, command: list[str], env: dict[str, str], folder: Path, servers: list[StandIn]) -> None:
        before = sum(server.bytes_sent for server in servers)
        requests = sum(len(server.log) for server in servers)
        start = time.perf_counter()
        with (folder / "stderr").open("w") as stderr:
            done = subprocess.run(
                [sys.executable, "-S", "-c", LAUNCHER, str(folder / "peak"), *command],
                env=env,
                cwd=folder,
                stdout=stderr,
                stderr=stderr,
                check=False,
            )
        self.seconds = time.perf_counter() - start
        self.megabytes = (sum(server.bytes_sent for server in servers) - before) / MB
        self.requests = sum(len(server.log) for server in servers) - requests
        self.peak_megabytes = int((folder / "peak").read_text()) * 1024 / MB
        if done.returncode:
            raise RuntimeError((folder / "stderr").read_text()[-3000:])

    def __str__(self) -> str:
        return (
            f"{self.megabytes:9.1f} MB {self.requests:5d} requests {self.seconds:8.1f} s "
            f"{self.peak_megabytes:7.0f} MB peak memory"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=CONFIGS, default="throughput_1k")
    parser.add_argument("--then", choices=CONFIGS[1:], help="a second throughput config, prepared on the same machine")
    parser.add_argument("--scale", type=float, default=0.1, help="size of padding in the qualitative config's sources")
    parser.add_argument("--rows", type=int, default=64, help="rows of each source in a throughput config")
    parser.add_argument("--last-problem", type=float, nargs="+", default=[0.5], help="where in LiveCodeBench, 0 to 1")
    parser.add_argument("--upstream", choices=["nemo-skills", "specdec_bench", "none"], default="nemo-skills")
    arguments = parser.parse_args()
    rng = random.Random(1)
    texts_from = os.environ["SPECDEC_UPSTREAM_MO" if arguments.upstream == "specdec_bench" else "SPECDEC_UPSTREAM_NS"]
    texts = read_texts(Path(texts_from).read_text(), texts_from)
    configs = [arguments.config, *([arguments.then] if arguments.then else [])]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with running(place / "hub") as hub, running(place / "plain") as plain:
            invented = Invented(hub, plain, placeholder=texts.placeholder, ts_old=texts.ts_old, on_plain_host=True)
            pad_hle(hub, rng)
            if arguments.config == "qualitative":
                pad_tables(hub, rng, arguments.scale)
            else:
                thousands = max(thousands_of(config) for config in configs)
                pad_plain_files(plain, rng, texts.ts_old, arguments.rows, thousands)
                arguments.last_problem = [0.0]
            for config in configs:
                publish(hub, plain, invented, config, arguments.rows)
            for run, last in enumerate(arguments.last_problem):
                if arguments.config == "qualitative":
                    pad_livecodebench(hub, rng, arguments.scale, last)
                    print(f"last problem at {last:.0%} of LiveCodeBench")
                hash_files(hub)
                for config in configs:
                    theirs = None
                    if run == 0 and arguments.upstream != "none":
                        theirs = upstream_cost(arguments.upstream, config, place / "upstream", hub, plain)
                        print(f"{config:15s} upstream   {theirs}", flush=True)
                    folder = place / f"ours{run}"
                    code, env = our_command(config, arguments.upstream, folder, texts_from, hub, plain)
                    ours = Cost([sys.executable, "-c", code], env, folder, [hub, plain])
                    print(f"{config:15s} ours       {ours}", flush=True)
                    again = Cost([sys.executable, "-c", code], env, folder, [hub, plain])
                    print(f"{config:15s}  once more {again}", flush=True)
                    if theirs is not None:
                        share, speed = ours.megabytes / theirs.megabytes, theirs.seconds / ours.seconds
                        same = same_rows(folder / "out", place / "upstream/out", config)
                        print(f"  {share:.1%} of the bytes, {speed:.1f} times as fast, rows equal: {same}", flush=True)


def hash_files(hub: StandIn) -> None:
    """Hashing is the hub's own business, done long before it is asked."""
    hub.forget()
    for path in hub.root.rglob("*.*"):
        if path.is_file():
            hub.etag(path)


def upstream_cost(name: str, config: str, folder: Path, hub: StandIn, plain: StandIn) -> Cost:
    folder.mkdir(exist_ok=True)
    command = command_mo if name == "specdec_bench" else command_ns
    return Cost(*command(hub, folder, config), folder, [hub, plain])


def our_command(
    config: str, flavor: str, folder: Path, texts_from: str, hub: StandIn, plain: StandIn
) -> tuple[str, dict[str, str]]:
    folder.mkdir(exist_ok=True)
    code = OURS.format(
        config=config,
        out=str(folder / "out"),
        sha=SHA,
        flavor="nemo-skills" if flavor == "none" else flavor,
        texts=texts_from,
        cache=str(folder / "cache"),
        plain=plain.host,
    )
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "good", "HF_HOME": str(folder / "hf_home")}
    return code, {**env, "PYTHONPATH": str(REPOSITORY)}


def same_rows(ours: Path, theirs: Path, config: str) -> bool:
    def read(folder: Path) -> list[Any]:
        return [json.loads(line) for line in (folder / f"{config}.jsonl").read_text().split("\n") if line]

    def with_turns(row: dict[str, Any]) -> dict[str, Any]:
        messages = row.pop("messages", None)
        return row if messages is None else {**row, "turns": [message["content"] for message in messages]}

    return list(map(with_turns, read(ours))) == list(map(with_turns, read(theirs)))


if __name__ == "__main__":
    main()
