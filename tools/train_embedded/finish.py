"""Quantise a trained pair to int8, write the model folder of the embedded engine, and measure it with that engine.

Usage: finish.py --trained OUT --data DATA --models MODELS [--prompts 64] [--report REPORT.json] [--measure-only]

MODELS receives ``target/``, ``draft/``, ``tokenizer.json`` and ``tokenizer_config.json``. The report holds held-out
losses before and after quantisation, acceptance by category of the held-out chats, and speed. Set OMP_NUM_THREADS=1.
"""

import argparse
import collections
import json
import shutil
import time
from pathlib import Path

import chats
import numpy as np
from safetensors.numpy import load_file, save_file

from nemo_skills_specdec.embedded.engine import Engine, Models, load_models
from nemo_skills_specdec.embedded.llama import KeyValueCache, Llama
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sampling import Shape
from nemo_skills_specdec.embedded.sequence import Ending, Sequence
from nemo_skills_specdec.embedded.weights import read_config, read_weights

# The form that chats.render writes; other roles (tool, developer) count as user and system.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] | trim }}{{ eos_token }}"
    "{% elif message['role'] in ('system', 'developer') %}<|system|>{{ message['content'] | trim }}"
    "{% else %}<|user|>{{ message['content'] | trim }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NEW_TOKENS = 256
LONGEST_PROMPT = 1024


def quantise(source: Path, destination: Path) -> None:
    """Write every matrix as int8 with one float16 scale a row (largest magnitude / 127); vectors as float16."""
    stored: dict[str, np.ndarray] = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if tensor.ndim == 2:
            scale = (np.abs(tensor.astype(np.float32)).max(1) / 127 + 1e-8).astype(np.float16)
            rounded = np.round(tensor.astype(np.float32) / scale.astype(np.float32)[:, None])
            stored[name] = rounded.clip(-127, 127).astype(np.int8)
            stored[f"{name}.scale"] = scale
        else:
            stored[name] = tensor.astype(np.float16)
    destination.mkdir(parents=True, exist_ok=True)
    save_file(stored, destination / "model.safetensors")
    (destination / "model.safetensors").chmod(0o644)
    shutil.copy(source / "config.json", destination / "config.json")


def write_tokenizer(data: Path, models: Path, context: int) -> None:
    """Copy the tokenizer and write its settings with the chat template."""
    shutil.copy(data / "tokenizer.json", models / "tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|eos|>",
        "pad_token": "<|pad|>",
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (models / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def held_losses(folder: Path, held: dict[str, np.ndarray], length: int = 512, rows: int = 6) -> dict[str, float]:
    """Mean negative log-likelihood in nats per token on evenly spaced windows of every kind of text."""
    config = read_config(folder)
    model = Llama(config, read_weights(folder), positions=length)
    losses = {}
    for kind, stream in held.items():
        size = min(length, len(stream) - 1)
        total = []
        for begin in np.linspace(0, len(stream) - size - 1, rows).astype(int):
            ids = stream[begin : begin + size + 1].astype(np.int64)
            cache = KeyValueCache(config, slots=1, capacity=size)
            logits = model.logits(model.forward(cache, ids[None, :-1], np.array([0]))).astype(np.float64)
            top = logits.max(1)
            normaliser = np.log(np.exp(logits - top[:, None]).sum(1)) + top
            total.append((normaliser - logits[np.arange(size), ids[1:]]).mean())
        losses[kind] = round(float(np.mean(total)), 3)
    return losses


def prompts_by_category(data: Path, models: Models, count: int) -> dict[str, list[list[int]]]:
    """Held-out chats up to their last answer, as token ids, COUNT of each category."""
    found: dict[str, list[list[int]]] = collections.defaultdict(list)
    with open(data / "held_chats.jsonl", encoding="utf8") as stream:
        for line in stream:
            chat = json.loads(line)
            messages = chat["messages"]
            last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
            ids = models.vocabulary.encode(models.vocabulary.chat(messages[:last]))
            assert models.vocabulary.chat(messages[:last]) == chats.render(messages[:last]) + "<|assistant|>"
            if len(ids) <= LONGEST_PROMPT and len(found[chat["category"]]) < count:
                found[chat["category"]].append(ids)
    return dict(sorted(found.items()))


def generate(models: Models, options: EmbeddedOptions, prompts: list[list[int]], temperature: float) -> list[Sequence]:
    """Answer all prompts, one at a time; answer i has seed i."""
    engine = Engine(models, options)
    sequences = []
    for index, prompt in enumerate(prompts):
        ending = Ending(max_tokens=NEW_TOKENS)
        sequences.append(engine.submit(str(index), prompt, Shape(temperature=temperature), ending, seed=index))
        while engine.busy:
            engine.step()
    return sequences


def acceptance(sequences: list[Sequence], draws: int = 2000) -> dict[str, object]:
    """Pooled acceptance length with its standard error (bootstrap by prompt), and how the answers end."""
    drafts = np.array([sum(d > 0 for d in s.steps.drafted) for s in sequences])
    accepted = np.array([sum(s.steps.accepted) for s in sequences])
    drafted = sum(sum(s.steps.drafted) for s in sequences)
    steps = sum(len(s.steps.drafted) for s in sequences)
    emitted = sum(sum(s.steps.emitted) for s in sequences)
    picks = np.random.default_rng(0).integers(0, len(sequences), (draws, len(sequences)))
    spread = 1 + accepted[picks].sum(1) / np.maximum(1, drafts[picks].sum(1))
    return {
        "prompts": len(sequences),
        "acceptance_length": round(1 + float(accepted.sum() / max(1, drafts.sum())), 3),
        "standard_error": round(float(spread.std()), 3),
        "acceptance_rate": round(float(accepted.sum() / max(1, drafted)), 3),
        "tokens_per_step": round(emitted / max(1, steps), 3),
        "num_drafts": int(drafts.sum()),
        "mean_tokens": round(float(np.mean([s.generated for s in sequences])), 1),
        "ended_by_model": sum(s.finish_reason == "stop" for s in sequences),
    }


def speed(folder: Path, tokens: int = 400) -> dict[str, float]:
    """Plain decoding of one sequence: tokens a second by the clock and by processor time, best of three."""
    options = EmbeddedOptions(method="none", max_num_seqs=1, model_dir=str(folder))
    models = load_models(options)
    best_clock = best_cpu = 0.0
    for _ in range(3):
        engine = Engine(models, options)
        engine.submit("speed", [0, 4, 100, 5], Shape(temperature=0), Ending(max_tokens=tokens, ignore_eos=True))
        engine.step()
        clock, cpu = time.perf_counter(), time.process_time()
        while engine.busy:
            engine.step()
        best_clock = max(best_clock, (tokens - 1) / (time.perf_counter() - clock))
        best_cpu = max(best_cpu, (tokens - 1) / (time.process_time() - cpu))
    return {"tokens_per_second": round(best_clock), "tokens_per_processor_second": round(best_cpu)}


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", required=True, help="folder that train.py wrote")
    parser.add_argument("--data", required=True, help="folder that corpus.py wrote")
    parser.add_argument("--models", required=True, help="model folder to write")
    parser.add_argument("--prompts", type=int, default=64, help="prompts of each category")
    parser.add_argument("--report", help="file for the figures, JSON")
    parser.add_argument("--measure-only", action="store_true", help="MODELS is complete already")
    arguments = parser.parse_args()
    trained, data, folder = Path(arguments.trained), Path(arguments.data), Path(arguments.models)

    held = dict(np.load(data / "held.npz"))
    report: dict[str, object] = {}
    if not arguments.measure_only:
        for part in ("target", "draft"):
            quantise(trained / part, folder / part)
        write_tokenizer(data, folder, read_config(folder / "target").max_position_embeddings)
    for part in ("target", "draft"):
        size = (folder / part / "model.safetensors").stat().st_size
        report[part] = {
            "bytes": size,
            "held_float16": held_losses(trained / part, held),
            "held_int8": held_losses(folder / part, held),
        }
        print(part, json.dumps(report[part]), flush=True)
    report["speed"] = speed(folder)
    print("speed", report["speed"], flush=True)

    rows = []
    for method in ("draft_model", "ngram"):
        options = EmbeddedOptions(method=method, draft_length=3, max_num_seqs=1, model_dir=str(folder))
        models = load_models(options)
        prompts = prompts_by_category(data, models, arguments.prompts)
        for temperature in (0.0, 1.0):
            for category, some in prompts.items():
                measured = acceptance(generate(models, options, some, temperature))
                rows.append({"temperature": temperature, "method": method, "category": category} | measured)
                print(json.dumps(rows[-1]), flush=True)
    report["acceptance"] = rows
    if arguments.report:
        Path(arguments.report).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
