"""Rows stay what they are, byte for byte: hashes over every row of all configs in both flavors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from invented import Invented
from standin_hub import StandIn

from nemo_skills_specdec.prompts.speed_bench.schema import CONFIGS, Config, Flavor

EXPECTED = {
    "qualitative nemo-skills": "34fdc040ac39d34d4854307a0aa85f1032c502c09c289296a28593f41be4b8c9",
    "qualitative specdec_bench": "34fdc040ac39d34d4854307a0aa85f1032c502c09c289296a28593f41be4b8c9",
    "throughput_16k nemo-skills": "781567bcd75c3dd04bd1b9e93c25de9709c9a107df5d7f74d47d6e573ec2f024",
    "throughput_16k specdec_bench": "b32d75e2d16a940ef1a46ad57d9b32a3efd48955fe2769b574ee9897575d2d7f",
    "throughput_1k nemo-skills": "a28016118d9120178dbd4fdfa96185dbccea6715bec3cf27797728630c37fa4e",
    "throughput_1k specdec_bench": "92876435961b47b1e00b8b4fbc023939258ca6559f2f507665c3d0db4c22b55c",
    "throughput_2k nemo-skills": "a1b80c89a089d20d755f81fcc115aa1e61b5e27ec6219b4a393ed392b8a44784",
    "throughput_2k specdec_bench": "b6e6082e1574ab9ed3b51352fb3eb771dff371628d82e8e63662f8daf38b106e",
    "throughput_32k nemo-skills": "768acb6ae93b2aaa897b745e75e0852471710563fcc42e60311550d63c6a6fb6",
    "throughput_32k specdec_bench": "a50a3aa64546bf1756e87979b1f033394d41591f3f5cc9dc90fa70279ef136a2",
    "throughput_8k nemo-skills": "fd9bab12a7332239b424e4a85aec49b8a601d8cc582b2bbfe2bb62ae6aa78e06",
    "throughput_8k specdec_bench": "cf391c2b1a49d180852c77c59d5a0a6d9e4354b953bff5892061488e0aa44086",
}


@pytest.fixture
def invented(hub: StandIn, plain_host: StandIn) -> Invented:
    return Invented(hub, plain_host, configs=CONFIGS[1:])


@pytest.mark.parametrize("flavor", ["nemo-skills", "specdec_bench"])
@pytest.mark.parametrize("config", CONFIGS)
def test_rows_are_those_of_every_earlier_version(
    options: Any, prepared: Any, invented: Invented, tmp_path: Path, config: Config, flavor: Flavor
) -> None:
    wanted = msgspec.structs.replace(options, configs=(config,), flavor=flavor)
    prepared(wanted)
    lines = (wanted.folder / f"{config}.jsonl").read_text().replace(invented.plain.url, "https://example.org")
    rows = [json.loads(line) for line in lines.split("\n") if line]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    assert digest == EXPECTED[f"{config} {flavor}"]
