from __future__ import annotations

import sys
from pathlib import Path

import pytest
from invented import UPSTREAM_FILE
from standin_hub import Fault, StandIn

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.patience import Patience
from nemo_skills_specdec.prompts.speed_bench import text_search, texts
from nemo_skills_specdec.prompts.speed_bench.text_hashes import DISCRIMINATING, KNOWN
from nemo_skills_specdec.prompts.speed_bench.text_search import find_texts
from nemo_skills_specdec.prompts.speed_bench.texts import Texts, as_flavor, flavor_of, hashes_of, read_texts, rendered

INVENTED = read_texts(UPSTREAM_FILE, "invented")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("placeholder", "FULL BENCHMARK DATA IS KEPT ELSEWHERE"),
        ("pad", "fill up \n"),
        ("ss_head", "PICK\n"),
        ("ss_after_head", "ASKED:\n"),
        ("ss_before_answers", "ANSWERS:\n"),
        ("ss_tail", "NOW SAY WHICH"),
        ("ts_old", "OLD ORDER"),
        ("ts_new", "NEW ORDER"),
        ("wr_head", "WRITE\n"),
        ("wr_tail", "\nDONE"),
        ("wr_item", ("BEGIN ", ("hole", "i + 1"), ": ", ("hole", "content"), " END")),
        ("rag", "READ {context} ANSWER {question}"),
        ("coser_none", "NO REASON"),
        ("mmlu", "ABOUT {subject}: "),
        ("mmlu_option", ("<", ("hole", "letter"), "> ", ("hole", "option"))),
        ("mmlu_item", ("Q ", ("hole", "question"), " O ", ("hole", "options_str"), " E")),
        ("hle_head", "SOLVED ONES OF "),
        ("hle_tail", ": "),
        ("hle_q", "Que: "),
        ("hle_a", " Ans: "),
        ("hle_end", " | "),
    ],
)
def test_each_text_is_taken_from_its_place(name: str, expected: object) -> None:
    assert getattr(INVENTED, name) == expected


def test_module_functions_serve_as_well_as_methods() -> None:
    flat = "\n".join(line.removeprefix("    ") for line in UPSTREAM_FILE.replace("class Anything:", "").split("\n"))
    assert read_texts(flat.replace("@staticmethod", ""), "flat") == INVENTED


def test_the_file_is_never_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    read_texts(f"open({str(mark)!r}, 'w')\nraise SystemExit\n" + UPSTREAM_FILE, "hostile")
    assert not mark.exists()


def test_a_text_that_is_missing_is_named() -> None:
    with pytest.raises(DataError, match="does not hold the text 'ts_old'"):
        read_texts(UPSTREAM_FILE.replace("original_instruction", "other"), "f")


def test_a_file_that_is_no_python_is_refused() -> None:
    with pytest.raises(DataError, match="is not a Python file that can be read"):
        read_texts("<html>", "f")


def test_a_pattern_is_hashed_as_its_pieces_in_json() -> None:
    # printf '["a", ["hole", "x"]]' | sha256sum
    assert texts.text_hash(("a", ("hole", "x"))) == "9b3328998c0ef4cc4aa4afc3372889353468d6acc6bd8f174dac4488bbd09ab5"


def test_holes_are_filled_by_name() -> None:
    assert rendered(("a", ("hole", "x"), "b"), {"x": "{y}"}) == "a{y}b"


def test_the_table_knows_every_text_in_both_flavors() -> None:
    assert set(KNOWN) == set(Texts.__struct_fields__)
    assert all(set(entry) == {"nemo-skills", "specdec_bench"} for entry in KNOWN.values())
    assert {name for name, e in KNOWN.items() if e["nemo-skills"] != e["specdec_bench"]} == set(DISCRIMINATING)


def test_our_repository_holds_none_of_upstreams_texts() -> None:
    from nemo_skills_specdec.prompts.speed_bench.own_texts import OWN_TEXTS

    assert set(texts.unknown_texts(OWN_TEXTS)) == set(Texts.__struct_fields__)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declares the invented texts known: with blanks at line ends as one flavor, without as the other."""
    wide = hashes_of(read_texts(WIDE, "wide"))
    narrow = hashes_of(INVENTED)
    table = {name: {"nemo-skills": narrow[name], "specdec_bench": wide[name]} for name in narrow}
    monkeypatch.setattr(texts, "KNOWN", table)


WIDE = (
    UPSTREAM_FILE.replace("PICK\n", "PICK \n")
    .replace('"""NEW ORDER"""', '"""    NEW ORDER  """')
    .replace("WRITE\n", "WRITE \n")
)
MIXED = UPSTREAM_FILE.replace("PICK\n", "PICK \n")


@pytest.mark.usefixtures("known")
def test_the_flavor_is_the_one_whose_texts_all_match() -> None:
    assert flavor_of(INVENTED) == "nemo-skills"
    assert flavor_of(read_texts(WIDE, "f")) == "specdec_bench"
    assert flavor_of(read_texts(MIXED, "f")) is None


@pytest.mark.usefixtures("known")
def test_one_flavor_follows_from_the_other_but_not_back() -> None:
    assert as_flavor(read_texts(WIDE, "f"), "nemo-skills") == INVENTED
    assert as_flavor(INVENTED, "specdec_bench") is None


def search(tmp_path: Path, code: str | None, flavor: str = "nemo-skills", **options: object) -> text_search.FoundTexts:
    path = None
    if code is not None:
        path = tmp_path / "given.py"
        path.write_text(code)
    fetcher = Fetcher(endpoint="http://127.0.0.1:9", offline=True)
    return find_texts(fetcher, Cache(tmp_path / "cache"), flavor, texts_from=path, **options)  # type: ignore[arg-type]


def test_unknown_texts_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"not those of a known upstream version: placeholder, pad, .*--allow-unknown-texts"
    ):
        search(tmp_path, UPSTREAM_FILE)


def test_unknown_texts_are_accepted_on_request_and_marked(tmp_path: Path) -> None:
    found = search(tmp_path, UPSTREAM_FILE, allow_unknown=True)
    assert (found.wording.standing, found.texts) == ("unknown", INVENTED)


@pytest.mark.usefixtures("known")
def test_known_texts_are_taken_in_the_flavor_asked_for(tmp_path: Path) -> None:
    assert search(tmp_path, WIDE, "nemo-skills").texts == INVENTED
    assert search(tmp_path, WIDE, "specdec_bench").wording.standing == "known"


@pytest.mark.usefixtures("known")
def test_a_file_of_the_other_flavor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its texts are of flavor nemo-skills, not specdec_bench"):
        search(tmp_path, UPSTREAM_FILE, "specdec_bench")


@pytest.mark.usefixtures("known")
def test_a_mixture_of_flavors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mix two flavors"):
        search(tmp_path, MIXED, "specdec_bench")


def install(folder: Path, package: str, inside: str, code: str) -> None:
    path = folder / package / inside
    path.parent.mkdir(parents=True)
    (folder / package / "__init__.py").write_text("raise ImportError('must not be imported')")
    path.write_text(code)


@pytest.mark.usefixtures("known")
def test_installed_packages_are_searched_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "nemo_skills", "dataset/speed-bench/prepare.py", UPSTREAM_FILE)
    install(tmp_path / "site", "aiperf", "dataset/loader/vendor/speed_bench_prepare.py", WIDE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for name in ("nemo_skills", "aiperf"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert search(tmp_path, None).wording.origin.startswith("installed nemo_skills, sha256 ")
    assert search(tmp_path, None, "specdec_bench").wording.origin.startswith("installed aiperf, sha256 ")


def test_where_nothing_is_found_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"neither in the cache nor in an installed nemo_skills .* give it with --texts-from"
    ):
        search(tmp_path, None)


@pytest.fixture
def pinned(hub: StandIn, known: None, monkeypatch: pytest.MonkeyPatch) -> str:
    import hashlib

    hub.add("a/b", "speed.py", WIDE.encode())
    url = "https://huggingface.co/datasets/a/b/resolve/main/speed.py"
    monkeypatch.setattr(text_search, "PINNED_URL", url)
    monkeypatch.setattr(text_search, "PINNED_SHA256", hashlib.sha256(WIDE.encode()).hexdigest())
    return url


def test_the_pinned_file_is_fetched_once_and_serves_both_flavors(pinned: str, hub: StandIn, tmp_path: Path) -> None:
    fetcher = Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None))
    assert find_texts(fetcher, Cache(tmp_path), "specdec_bench").wording.standing == "known"
    offline = Fetcher(endpoint=hub.url, offline=True)
    assert find_texts(offline, Cache(tmp_path), "nemo-skills").texts == INVENTED
    assert len(hub.log) == 1


def test_a_pinned_file_that_changed_is_refused(
    pinned: str, hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_search, "PINNED_SHA256", "0" * 64)
    with pytest.raises(UsageError, match="cannot be fetched"):
        find_texts(Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None)), Cache(tmp_path), "nemo-skills")


def test_a_download_that_fails_says_how_to_do_without(pinned: str, hub: StandIn, tmp_path: Path) -> None:
    hub.faults.append(Fault("speed.py", times=9, status=404))
    with pytest.raises(UsageError, match="--texts-from"):
        find_texts(Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None)), Cache(tmp_path), "nemo-skills")
