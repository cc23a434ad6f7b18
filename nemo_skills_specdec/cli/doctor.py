"""`ns-specdec doctor`: what is this server, and where can acceptance be read; which way leads through NeMo-Skills."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nemo_skills_specdec.cli._choices import ServerType
from nemo_skills_specdec.cli._engine_options import TlsFlags
from nemo_skills_specdec.cli._streams import write_json, write_line
from nemo_skills_specdec.option_groups import spread

if TYPE_CHECKING:
    from nemo_skills_specdec.engines.base import ServerInfo
    from nemo_skills_specdec.evaluator.roads import Road


@spread
def doctor(
    url: Annotated[str | None, typer.Argument(help="Base URL of the server, with or without /v1.")] = None,
    *,
    metrics_url: Annotated[
        list[str] | None, typer.Option(help="URL of /metrics, if not below the server URL. Repeat for every replica.")
    ] = None,
    server_type: Annotated[ServerType | None, typer.Option(help="Engine type, if a router hides it.")] = None,
    tls: TlsFlags,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe",
            help="Send one short request where only a response shows whether it carries statistics.",
        ),
    ] = True,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the API key, if any.")
    ] = "SPECDEC_API_KEY",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    nemo_skills: Annotated[
        bool,
        typer.Option("--nemo-skills", help="Inspect the NeMo-Skills installed here."),
    ] = False,
    cluster: Annotated[
        str | None, typer.Option(help="NeMo-Skills cluster config that jobs will use, as ns takes it.")
    ] = None,
    config_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of cluster configs. Default: as ns."),
    ] = None,
) -> None:
    """What is this server, and where can acceptance be read? Exits with 1 if certainly nowhere.

    With --nemo-skills: which NeMo-Skills is installed here, and the two commands that lead through it to the server.
    """
    import msgspec

    from nemo_skills_specdec.errors import UsageError

    if url is None and not nemo_skills:
        raise UsageError("name a server, or give --nemo-skills")
    if not nemo_skills and (cluster is not None or config_dir is not None):
        raise UsageError("--cluster and --config-dir belong to --nemo-skills")

    from nemo_skills_specdec.engines.detect import detect
    from nemo_skills_specdec.engines.fetch import bearer
    from nemo_skills_specdec.engines.probe import probe_responses
    from nemo_skills_specdec.engines.remarks import UNCHECKED
    from nemo_skills_specdec.redaction import redacted_data, redacting, secrets_of
    from nemo_skills_specdec.tls import chosen_context

    headers = bearer(os.environ.get(api_key_env))
    context = chosen_context(tls.ca_file, insecure=tls.insecure)
    secrets = secrets_of([url or "", *(metrics_url or ())], headers)
    if url is None:
        _doctor_nemo_skills(None, cluster, config_dir, json_output=json_output)
        return
    with redacting(secrets):
        info = detect(url, metrics_url or (), headers, server_type=server_type, tls=context)
        if probe and not nemo_skills:
            probe_responses(info, url, headers, tls=context)
    if tls.insecure:
        info.findings = [*info.findings, UNCHECKED]
    info = redacted_data(info, secrets)
    if nemo_skills:
        _doctor_nemo_skills(info, cluster, config_dir, json_output=json_output)
        return
    if json_output:
        write_json(msgspec.json.encode(info))
    else:
        _show(info)
    if all(offer.available is False for offer in info.offers):
        raise typer.Exit(1)


def _doctor_nemo_skills(
    server: ServerInfo | None, cluster: str | None, config_dir: Path | None, *, json_output: bool
) -> None:
    import msgspec

    from nemo_skills_specdec.errors import UsageError
    from nemo_skills_specdec.evaluator.installation import find_installation
    from nemo_skills_specdec.evaluator.roads import read_cluster, road_through

    here = find_installation()
    if here is None:
        raise UsageError(f"there is no NeMo-Skills beside {sys.executable}; run this with the Python that has `ns`")
    config = None if cluster is None else read_cluster(cluster, config_dir)
    road = road_through(here, config, server, Path.cwd())
    if json_output:
        write_json(msgspec.json.encode({"nemo_skills": here, "road": road}, enc_hook=str))
    else:
        _show_road(road)
    if road.problems:
        raise typer.Exit(1)


def _show_road(road: Road) -> None:
    width = max(map(len, road.facts))
    for name, fact in road.facts.items():
        write_line(f"{name:<{width}}  {fact}")
    for problem in road.problems:
        write_line(f"\nproblem: {problem}")
    # As they are, without any wrapping, to be copied.
    write_line(f"\n{road.prepare}\n{road.evaluate}")


def _show(info: ServerInfo) -> None:
    from rich.table import Table

    from nemo_skills_specdec.cli._screen import screen
    from nemo_skills_specdec.engines.registry import ENGINES
    from nemo_skills_specdec.report.terminal import findings_lines

    hidden = ENGINES[info.engine].FACTS.hidden_method if info.engine is not None else ""
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    rows = {
        "server": info.base_url,
        "engine": f"{info.engine or 'unknown'} {info.version or ''}".strip(),
        "models": ", ".join(info.models) or "none listed",
        "speculation": info.speculation,
        "method": info.method or f"unknown{f' ({hidden})' if hidden and info.speculation != 'off' else ''}",
        "draft length": "unknown" if info.draft_length is None else str(info.draft_length),
    }
    for name, value in rows.items():
        facts.add_row(name, value)
    offers = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    offers.add_column("source", no_wrap=True)
    offers.add_column("here", no_wrap=True)
    offers.add_column("gives", max_width=20)
    offers.add_column("how", overflow="fold")
    for offer in info.offers:
        offers.add_row(offer.source, _here(offer.available), offer.gives, offer.how)
    console = screen(width=80)
    console.print(facts)
    if info.offers:
        console.print("\nsources of acceptance, best first")
        console.print(offers)
    else:
        console.print("\nno source of acceptance is known for this server; for a router, give --server-type")
    for line in findings_lines(info.findings):
        console.print(line)


def _here(available: bool | None) -> str:
    return "unknown" if available is None else "yes" if available else "no"
