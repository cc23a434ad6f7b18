"""Invented stand-ins for SPEED-Bench and its sources, and for the upstream file that holds the wording."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from standin_hub import Repo, StandIn

SHA = "5" * 40
PLACEHOLDER = "FULL BENCHMARK DATA IS KEPT ELSEWHERE"

UPSTREAM_FILE = '''
"""An invented file in the structure of the upstream ones."""
TURNS_PLACEHOLDER = "FULL BENCHMARK DATA IS KEPT ELSEWHERE"

class Anything:
    @staticmethod
    def _generate_stackselect_prompt(question, answers, answer, num_tokens):
        prompt = """PICK
"""
        prompt += "ASKED:\\n"
        prompt += question + "\\n\\n"
        prompt += "ANSWERS:\\n"
        end_prompt = "NOW "
        end_prompt += (
            "SAY "
        )
        end_prompt += "WHICH"
        for i, answer in enumerate(answers):
            prompt += f"A{i + 1}:\\n\\n{answer}\\n\\n"
        prompt += end_prompt
        return prompt

    @staticmethod
    def _generate_textsort_prompt(prompt):
        original_instruction = "OLD ORDER"
        new_instruction = """NEW ORDER"""
        return prompt.replace(original_instruction, new_instruction, 1)

    @staticmethod
    def _generate_writing_prompt(contents):
        content = "\\n\\n".join([f"BEGIN {i+1}: {content} END" for i, content in enumerate(contents)])
        prompt = f"""WRITE
{content}
DONE"""
        return prompt

    @staticmethod
    def _pad_or_truncate_prompt(prompt, target_num_tokens, padding="fill up \\n"):
        return prompt

    @staticmethod
    def _generate_chatrag_bench_prompt(external_dataset):
        prompt = "READ {context} ANSWER {question}"
        return prompt.format(context=external_dataset, question="")

    @staticmethod
    def _generate_coser_prompt(external_dataset):
        prompt = """BE {character} IN {book_name}; YOU {character_profile}; NOW {scenario}; \
OTHERS [{other_character_profiles_str}]; WHY {motivation}"""
        motivation = next((k["motivation"] for k in external_dataset), "NO REASON")
        return prompt.format(motivation=motivation)

    @staticmethod
    def _generate_mmlu_pro_prompt(external_dataset, subject):
        def get_question_and_options(question, options):
            options_str = "\\n".join([f"<{letter}> {option}" for letter, option in options])
            return f"Q {question} O {options_str} E"

        prompt = 'ABOUT {subject}: '
        return prompt.format(subject=subject)

    @staticmethod
    def _generate_hle_prompt(example, hle_train, num_tokens, rng):
        prompt = "SOLVED ONES OF " + example["category"] + ": "
        return prompt

    def _fetch_all_turns_data(self, example, config):
        key = lambda e: e["id"]
        return key, (lambda e: "Que: " + e["question"] + " Ans: " + e["rationale"] + " | ")
'''


class WordEncoder:
    """A tokenizer for tests: a token is a word or a run of blanks, numbered as they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []

    def encode(self, text: str, *, disallowed_special: Literal["all"] | Collection[str] = "all") -> list[int]:
        if disallowed_special == "all" and "<|endoftext|>" in text:
            raise ValueError("special token")
        tokens = []
        for word in re.findall(r"\s+|\S+", text):
            if word not in self._numbers:
                self._numbers[word] = len(self._words)
                self._words.append(word)
            tokens.append(self._numbers[word])
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self._words[token] for token in tokens)


def words(rng: random.Random, count: int) -> str:
    stock = [
        "river",
        "stone",
        "über",
        "{brace}",
        "名前",
        "question's",
        "\\n",
        "<|endoftext|>",
        "seven-fold,",
        "of",
        "a",
    ]
    return " ".join(rng.choice(stock) for _ in range(count)) + "."


def parquet(rows: Sequence[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer, **options)
    return buffer.getvalue()


def lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def question_id(name: str) -> str:
    return hashlib.md5(name.encode()).hexdigest()


def raw(name: str, category: str, source: str, src_id: str, turns: list[str], **more: Any) -> dict[str, Any]:
    return {
        "question_id": question_id(name),
        "category": category,
        "sub_category": more.get("sub_category", "any"),
        "turns": turns,
        "source": source,
        "src_id": src_id,
        "difficulty": more.get("difficulty"),
        "multiturn": len(turns) > 1 or more.get("multiturn", False),
    }


class Invented:
    """Everything that the two stand-in servers hold."""

    def __init__(
        self,
        hub: StandIn,
        plain: StandIn,
        *,
        placeholder: str = PLACEHOLDER,
        ts_old: str = "OLD ORDER",
        on_plain_host: bool = False,
        answer_length: int = 40,
        configs: Sequence[str] = ("throughput_1k", "throughput_2k"),
    ) -> None:
        """Publishes sources and rows.

        Args:
            hub: stands in for huggingface.co.
            plain: stands in for the hosts of plain files.
            placeholder: of masked rows.
            ts_old: instruction in textsort's prompts.
            on_plain_host: put RoleBench and CoSER on the plain host; `datasets` takes hub addresses for its own.
            answer_length: words of an answer in stackselect.
            configs: throughput configs to publish beside the qualitative one.
        """
        self.hub, self.plain, self.placeholder = hub, plain, placeholder
        self.rng = random.Random(7)
        self.base = plain.url if on_plain_host else "https://huggingface.co/datasets"
        plain.root.mkdir(parents=True, exist_ok=True)
        self._hle()
        self._tables()
        self._livecodebench()
        self._plain_files(ts_old, answer_length)
        self._roles()
        self._coser()
        for repo_id, sha in {
            "cais/hle": "021a3d71f516a7ac28ceb8d284969902edf1edeb",
            "livecodebench/code_generation_lite": "0fe84c3912ea0c4d4a78037083943e8f0c4dd505",
            "deepmind/code_contests": "802411c3010cb00d1b05bad57ca77365a3c699d6",
            "Helsinki-NLP/opus-100": "805090dc28bf78897da9641cdf08b61287580df9",
            "nvidia/ChatRAG-Bench": "af6c7d420ddddf21f54f8ab3394bbf462aad2577",
            "TIGER-Lab/MMLU-Pro": "30527804ea8854662078e457808040d872ecdf29",
            "abisee/cnn_dailymail": "c" * 40,
        }.items():
            hub.repos[repo_id] = Repo(sha=sha, gated=repo_id == "cais/hle")
        hub.tokens["good"] = {"cais/hle"}
        hub.tokens["stranger"] = set()
        self.rows = {"qualitative": self.qualitative()}
        for config in configs:
            self.rows[config] = self.throughput(config)
        readme = "---\nconfigs:\n" + "".join(
            f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}/test-*\n"
            for config in self.rows
        )
        hub.add("nvidia/SPEED-Bench", "README.md", (readme + "---\n").encode())
        for config, rows in self.rows.items():
            hub.add("nvidia/SPEED-Bench", f"{config}/test-00000-of-00001.parquet", parquet(rows))
        hub.repos["nvidia/SPEED-Bench"] = Repo(sha=SHA)

    def masked(self, template: str | None = None, turns: int = 1) -> list[str]:
        first = self.placeholder if template is None else f"{self.placeholder}\n\n{template}"
        return [first, *[self.placeholder] * (turns - 1)]

    def qualitative(self) -> list[dict[str, Any]]:
        plain, base = self.plain.url, self.base
        lcb, opus, rag = "livecodebench/code_generation_lite", "Helsinki-NLP/opus-100", "nvidia/ChatRAG-Bench"
        role, coser = f"{base}/ZenMoore/RoleBench/tree/main/eng", f"{base}/Neph0s/CoSER/tree/main"
        mtbench = f"{plain}/mtbench101/mt-bench-101/all.jsonl"
        described = "Be {role_name}: {role_description_and_catchphrases}"
        masked = self.masked
        return [
            raw("open1", "writing", "WritingBench", "w1", ["An open {row}.", "And its second turn."]),
            raw("cnn1", "summarization", "abisee/cnn_dailymail", "cnn-3", masked("Short:\n{article}\n\n{{x}}")),
            raw("hle1", "stem", "cais/hle", "hle-5", masked()),
            raw("lcb1", "coding", lcb, "lcb-e", masked("{question}+{starter_code}")),
            raw("lcb2", "coding", lcb, "lcb-b", masked("Do {question}")),
            raw("cc1", "coding", "deepmind/code_contests", "problem 2", masked("Solve {question}")),
            raw("mt1", "qa", mtbench, "mtbench101_1", masked(None, 3)),
            raw("opus1", "multilingual", opus, "opus_de-en_3", masked("To English: {question[de]}")),
            raw("opus2", "multilingual", opus, "opus_de-en_0", masked("{question}")),
            raw("rag1", "rag", rag, "chatrag_2", masked(None, 2)),
            raw("rag2", "rag", rag, "chatrag_4", masked()),
            raw(
                "mmlu1",
                "reasoning",
                "TIGER-Lab/MMLU-Pro",
                "mmlu_pro(7, 10)",
                masked(None, 3),
                sub_category="law/ethics",
            ),
            raw("role1", "roleplay", role, "role_general_4_1_2", masked(described, 3)),
            raw("role2", "roleplay", role, "role_special_0", masked("You are {role_name}.")),
            raw("coser1", "roleplay", coser, "coser_0", masked()),
            raw("coser2", "roleplay", coser, "coser_1", masked()),
            raw("hle2", "math", "https://huggingface.co/datasets/cais/hle", "hle-60", masked(), difficulty="hard"),
            raw("open2", "humanities", "Spec-Bench", "sb/2", ["Ünïcode “open” row </html>"]),
        ]

    def throughput(self, config: str) -> list[dict[str, Any]]:
        plain = self.plain.url
        select, sort = f"{plain}/AdaLEval/stackselect/test.json", f"{plain}/AdaLEval/textsort/test.json"
        rows = [
            raw(f"{config}o", "low_entropy", "repobench", "r_0", ["def f(): pass\n" * 100]),
            raw(f"{config}b1", "high_entropy", f"{plain}/RUCAIBox/BAMBOO/lines.jsonl", "bamboo_0_2", self.masked()),
            raw(f"{config}b2", "high_entropy", f"{plain}/RUCAIBox/BAMBOO/array.json", "bamboo_1", self.masked()),
            *[raw(f"{config}s{n}", "mixed", select, f"select-{n}", self.masked()) for n in range(5)],
            *[raw(f"{config}t{n}", "low_entropy", sort, f"textsort_{n}_x", self.masked()) for n in range(3)],
        ]
        for number in self.asked_questions():
            rows.insert(
                number % len(rows), raw(f"{config}h{number}", "mixed", "cais/hle", f"hle-{number}", self.masked())
            )
        return rows

    def asked_questions(self) -> list[int]:
        """Five questions of the half that is asked: the first 31 of this permutation of 61."""
        import numpy as np

        return [int(number) for number in np.random.default_rng(42).permutation(61)[:31:7]]

    def _hle(self) -> None:
        def text(count: int) -> str:
            # Upstream reads the question with special tokens disallowed, and would stop at one.
            return words(self.rng, count).replace("<|endoftext|>", "end")

        rows = [
            {
                "id": f"hle-{n}",
                "question": f"Q{n} {text(12)}",
                "image": "data:image/png;base64,QUJD" * 40 if n % 7 == 3 else "",
                "answer": "a",
                "rationale": f"R{n} {words(self.rng, 30)}",
                "category": "Math" if n % 2 else "Biology",
            }
            for n in range(61)
        ]
        self.hub.add("cais/hle", "data/test-00000-of-00001.parquet", parquet(rows, row_group_size=20))

    def _tables(self) -> None:
        hub, rng = self.hub, self.rng
        articles = [{"article": words(rng, 60), "highlights": words(rng, 9), "id": f"cnn-{n}"} for n in range(6)]
        articles[3]["article"] = "An article with {braces} and {article} and 100% “quotes”."
        hub.add("abisee/cnn_dailymail", "3.0.0/test-00000-of-00001.parquet", parquet(articles, row_group_size=2))
        hub.add("abisee/cnn_dailymail", "3.0.0/train-00000-of-00001.parquet", parquet(articles * 50))
        problems = [{"name": f"problem {n}", "description": words(rng, 30), "tests": "t" * 500} for n in range(4)]
        hub.add("deepmind/code_contests", "data/test-00000-of-00001-abc.parquet", parquet(problems))
        pairs = [{"translation": {"de": f"Satz {n} ü", "en": f"Sentence {n}"}} for n in range(5)]
        hub.add("Helsinki-NLP/opus-100", "de-en/test-00000-of-00001.parquet", parquet(pairs))
        hub.add("Helsinki-NLP/opus-100", "de-en/train-00000-of-00001.parquet", parquet(pairs * 90))
        for repo_id, config in (("Helsinki-NLP/opus-100", "de-en"), ("abisee/cnn_dailymail", "3.0.0")):
            splits = "".join(f"  - split: {split}\n    path: {config}/{split}-*\n" for split in ("train", "test"))
            readme = f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{splits}---\n"
            hub.add(repo_id, "README.md", readme.encode())
        chats = [
            {
                "messages": [
                    {"role": "user", "content": f"first {n} {{context}}"},
                    {"role": "assistant", "content": "answer"},
                    {"role": "user", "content": f"second {n}"},
                ][: 3 if n % 2 == 0 else 1],
                "ctxs": [{"title": "t", "text": f"passage {n}"}, {"title": "u", "text": "another {x}"}],
            }
            for n in range(5)
        ]
        readme = ""
        for config, part in (("hybridial", chats[:3]), ("sqa", chats[3:])):
            hub.add("nvidia/ChatRAG-Bench", f"data/{config}/test.json", json.dumps(part).encode())
            readme += f"- config_name: {config}\n  data_files:\n  - split: test\n    path: data/{config}/test.json\n"
        hub.add("nvidia/ChatRAG-Bench", "README.md", f"---\nconfigs:\n{readme}---\n".encode())
        exam = [
            {"question_id": n, "question": f"What is {n}?", "options": [f"{n}", f"{n + 1}", "{none}"][: 2 + n % 2]}
            for n in range(12)
        ]
        hub.add("TIGER-Lab/MMLU-Pro", "data/test-00000-of-00001.parquet", parquet(exam))

    def _livecodebench(self) -> None:
        for number, ids in enumerate((["a", "b"], ["c"], [], ["d"], ["x", "e"], ["f"]), start=1):
            rows = [
                {
                    "question_title": f"T{key}",
                    "question_content": f"Content of {key} {words(self.rng, 10)}",
                    "question_id": f"lcb-{key}",
                    "starter_code": f"def {key}():",
                    "private_test_cases": "z" * 3000,
                }
                for key in ids
            ]
            name = "test.jsonl" if number == 1 else f"test{number}.jsonl"
            data = lines(rows) if rows else lines([{**_PROBLEM, "question_id": "lcb-none"}])
            self.hub.add("livecodebench/code_generation_lite", name, data)

    def _write(self, path: str, data: bytes) -> None:
        place = self.plain.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def _publish(self, path: str, data: bytes) -> None:
        """On the plain host, or on the hub under `<org>/<name>/raw/main/...`."""
        if self.base == self.plain.url:
            return self._write(path, data)
        org, name, _, _, inside = path.split("/", 4)
        return self.hub.add(f"{org}/{name}", inside, data)

    def _plain_files(self, ts_old: str, answer_length: int) -> None:
        rng = self.rng
        dialogues = [{"title": f"d{n}", "content": words(rng, 300 + 900 * n)} for n in range(3)]
        self._write("RUCAIBox/BAMBOO/lines.jsonl", lines(dialogues))
        self._write("RUCAIBox/BAMBOO/array.json", json.dumps(dialogues[::-1]).encode())
        talks = [
            {"task": "t", "history": [{"user": f"u{n}.{m} {{x}}", "bot": "b"} for m in range(3)]} for n in range(3)
        ]
        self._write("mtbench101/mt-bench-101/all.jsonl", lines(talks))
        select = [
            {
                "question_id": f"select-{n}",
                "question": words(rng, 30),
                "all_answers": [f"{n}.{m} {words(rng, answer_length)}" for m in range(12)],
                "answer": f"A{right}",
            }
            for n, right in enumerate((12, 1, 6, 2, 11))
        ]
        # No answer fits beside the right one, which is then put first.
        select[3]["all_answers"][0] = words(rng, 3000)
        self._write("AdaLEval/stackselect/test.json", json.dumps(select).encode())
        sort = [
            {"prompt": ("" if n == 2 else ts_old) + words(rng, count) + "\nBefore: x", "answer": "[1]"}
            for n, count in enumerate((50, 3000, 700))
        ]
        self._write("AdaLEval/textsort/test.json", json.dumps(sort).encode())

    def _roles(self) -> None:
        general = [
            {"role": "Ada", "question": q} for q in ("q0", "Ada, why {x}?", " Ada, and then?", "q3", "Ada, hello?")
        ]
        self._publish("ZenMoore/RoleBench/raw/main/eng/general/role_specific/test.jsonl", lines(general))
        special = [{"role": "Zoë", "question": "Zoë, what now?"}]
        self._publish("ZenMoore/RoleBench/raw/main/eng/special/role_specific/test.jsonl", lines(special))
        roles = {"Ada": "She counts; “first”.", "Zoë": "{brace}"}
        self.hub.add("ZenMoore/RoleBench", "profiles-eng/desc.json", json.dumps(roles).encode())
        self.hub.repos["ZenMoore/RoleBench"] = Repo(sha="a57ed54f9613921e4a5f1b63601a558cd5acf971")

    def _coser(self) -> None:
        names = ("Mia", "Finn", "Ole")
        scenes = [
            {
                "book": "The {Book}",
                "scenario": "A storm.",
                "major_characters": ["Finn", "Mia", "Ole"],
                "key_characters": [{"name": n, "motivation": f"{n} wants {k}"} for n in names for k in "12"],
                "character_profiles": {"Ole": "old", "Zed": None, "Finn": "young", "Mia": "tall", "Ann": "quiet"},
            },
            {
                "book": "Other",
                "scenario": "Sun.",
                "major_characters": ["Ann", "Bea"],
                "key_characters": [{"name": "Nobody", "motivation": "none"}],
                "character_profiles": {"Bea": "loud", "Ann": "calm", "Mia": "far", "Ole": "near"},
            },
        ]  # fmt: skip
        self._publish("Neph0s/CoSER/raw/main/test/test_set.json", json.dumps(scenes).encode())


_PROBLEM = {"question_title": "", "question_content": "", "starter_code": "", "private_test_cases": ""}
