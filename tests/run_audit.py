"""Recomputes every figure of a run from the run's own files, apart from the package's code: json, base64, numpy only.

    python tests/run_audit.py RUN...

Prints how many figures were recomputed and those that differ by more than 1e-9; exits with 1 if any does, or if a
stored figure was not recomputed. Intervals are compared with simulation elsewhere and left out here.
"""

import base64
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

NOT_FIGURES = re.compile(r"/(intervals|\w+_interval|findings|slo)(/|$)")
LATENCIES = {
    "user_tokens_per_second": lambda r: user_speed(r),
    "ttft_seconds": lambda r: r["ttft_seconds"],
    "tpot_seconds": lambda r: r["tpot_seconds"],
    "inter_chunk_seconds": lambda r: r["inter_chunk_seconds"],
    "end_to_end_seconds": lambda r: r["end_time"] - r["start_time"],
    "queue_seconds": lambda r: r["queue_seconds"],
}


def close(stored, own):
    if stored is None or own is None:
        return stored is own
    return abs(stored - own) <= 1e-9 * max(1.0, abs(stored), abs(own))


def figures(value, path=""):
    """Every number (or null) of a nested value, by path."""
    if isinstance(value, dict):
        return {key: leaf for name, item in value.items() for key, leaf in figures(item, f"{path}/{name}").items()}
    if isinstance(value, list):
        return {key: leaf for i, item in enumerate(value) for key, leaf in figures(item, f"{path}/{i}").items()}
    return {} if isinstance(value, str | bool) else {path: value}


# Acceptance, from counts


def ratio(above, below):
    return above / below if below else None


def rates(drafts, drafted, accepted, positions, reached=None):
    """The figures that follow from counts."""
    known = [drafts, *positions] if positions is not None else []
    return {
        "num_drafts": drafts,
        "num_draft_tokens": drafted,
        "num_accepted_tokens": accepted,
        "accepted_per_position": positions,
        "acceptance_length": 1 + accepted / drafts if drafts else None,
        "acceptance_rate": ratio(accepted, drafted),
        "per_position_acceptance_rates": [ratio(a, drafts) for a in positions] if positions is not None else None,
        "conditional_acceptance_rates": [ratio(late, early) for early, late in pairwise(known)] if known else None,
        "reached_conditional_acceptance_rates": (
            [ratio(a, r) for a, r in zip(positions, reached, strict=True)] if reached is not None else None
        ),
        "acceptance_length_bounds": None,
        "acceptance_rate_bounds": None,
        "tokens_per_step": None,
    }


def counts_of(record):
    """An answer's counts, from its own steps where it lists them; None where nothing tells."""
    counts = record["counts"]
    if counts is None:
        short = record["error"] is None and record["completion_tokens"] in (0, 1)
        return (0, 0, 0, []) if short else None
    if record.get("steps"):
        drafted, accepted = np.array(record["steps"]).T
        longest = max(int(drafted.max()), len(counts["accepted_per_position"] or []))
        positions = [int((accepted > i).sum()) for i in range(longest)]
        return int((drafted > 0).sum()), int(drafted.sum()), int(accepted.sum()), positions
    return (*(counts[f"num_{what}"] for what in ("drafts", "draft_tokens", "accepted_tokens")),
            counts["accepted_per_position"])  # fmt: skip


def summed(lists):
    lists = list(lists)
    if any(one is None for one in lists):
        return None
    return [sum(one[i] for one in lists if i < len(one)) for i in range(max(map(len, lists), default=0))]


def from_answers(records):
    """Acceptance summed over answers."""
    counted = [counts_of(record) for record in records if counts_of(record) is not None]
    drafts, drafted, accepted = (sum(one[i] for one in counted) for i in range(3))
    positions = summed(one[3] for one in counted)
    with_steps = [record for record in records if (counts_of(record) or (0,))[0]]
    reached = None
    if with_steps and all(record.get("steps") for record in with_steps):
        steps = np.array([step for record in with_steps for step in record["steps"]])
        reached = [int(((steps[:, 0] > i) & (steps[:, 1] >= i)).sum()) for i in range(len(positions))]
    return rates(drafts, drafted, accepted, positions, reached)


def averages(records, overall, parts, from_records, planned):
    lengths = [part["acceptance"]["acceptance_length"] for part in parts.values()]
    shares = [part["acceptance"]["acceptance_rate"] for part in parts.values()]
    lengths, shares = ([value for value in values if value is not None] for values in (lengths, shares))
    counted = [counts_of(record) for record in records if from_records and counts_of(record) is not None]
    each = [1 + accepted / drafts for drafts, _, accepted, _ in counted if drafts]
    return {
        "pooled": {name: overall[name] for name in ("acceptance_length", "acceptance_rate")}
        | {"over": overall["num_drafts"] or 0},
        "request_mean": {
            "over": len(each),
            "of": len(records),
            "acceptance_length": mean(each),
            "acceptance_rate": mean([accepted / drafted for _, drafted, accepted, _ in counted if drafted]),
        },
        "category_macro": {
            "over": len(lengths),
            "of": len(parts) if planned is None else planned,
            "acceptance_length": mean(lengths),
            "acceptance_rate": mean(shares),
        },
    }


# Acceptance, from the server's counters


def samples(text):
    """Every sample of an exposition text: name, labels, value."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? (\S+)", line)
        if match:
            found.append((match[1], dict(re.findall(r'(\w+)="([^"]*)"', match[2] or "")), float(match[3])))
    return found


def grown(before, after, name, **labels):
    """By how much a counter grew, over all its label sets; None where the series is missing."""
    late, early = (
        [v for n, at, v in one if n == name and all(at.get(k) == label for k, label in labels.items())]
        for one in (after, before)
    )
    return round(sum(late) - sum(early)) if late else None


def cached_in_counters(before, after):
    """How many tokens of prompts were cached, and how many there were."""
    if any(name.startswith("sglang:") for name, _, _ in after):
        cached = grown(before, after, "sglang:cached_tokens_total") or 0
        return cached, grown(before, after, "sglang:prompt_tokens_total")
    return grown(before, after, "vllm:prefix_cache_hits_total"), grown(before, after, "vllm:prompt_tokens_total")


def from_counters(before, after, draft_length):
    """Acceptance between two texts."""
    if any(name.startswith("sglang:") for name, _, _ in after):
        drafts = grown(before, after, "sglang:spec_verify_calls_total")
        decoded = grown(before, after, "sglang:realtime_tokens_total", mode="decode")
        generated = grown(before, after, "sglang:generation_tokens_total")
        answers = grown(before, after, "sglang:num_requests_total")
        found = rates(drafts, drafts * draft_length, decoded - drafts, None)
        return found | {"tokens_per_step": ratio(generated - answers, drafts)}
    spec = "vllm:spec_decode_num_"
    drafts, drafted, accepted = (
        grown(before, after, f"{spec}{what}_total") for what in ("drafts", "draft_tokens", "accepted_tokens")
    )
    per_position = f"{spec}accepted_tokens_per_pos_total"
    places = sorted({int(at["position"]) for name, at, _ in after if name == per_position})
    positions = [grown(before, after, per_position, position=str(place)) for place in places]
    generated = grown(before, after, "vllm:generation_tokens_total")
    first = grown(before, after, "vllm:time_to_first_token_seconds_count")
    steps = grown(before, after, "vllm:inter_token_latency_seconds_count")
    return rates(drafts, drafted, accepted, positions) | {"tokens_per_step": ratio(generated - first, steps)}


# Speed


def mean(values):
    return sum(values) / len(values) if values else None


def spread(values, of, percentiles):
    """Mean, deviation and percentiles, the last between order statistics."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    middle = sum(known) / len(known)

    def percentile(q):
        place = (len(known) - 1) * q / 100
        low = int(place)
        return known[low] + (place - low) * (known[min(low + 1, len(known) - 1)] - known[low])

    return {
        "mean": middle,
        "standard_deviation": (sum((value - middle) ** 2 for value in known) / len(known)) ** 0.5,
        **{f"p{q}": percentile(q) for q in (50, 90, 95, 99)},
        "others": {name: percentile(float(name)) for name in percentiles},
        "over": len(known),
        "of": of,
    }


def user_speed(record):
    elapsed = record["end_time"] - record["start_time"]
    if record["tpot_seconds"]:
        return 1 / record["tpot_seconds"]
    if record["ttft_seconds"] is not None or record["completion_tokens"] is None or elapsed <= 0:
        return None
    return record["completion_tokens"] / record.get("samples", 1) / elapsed


def chunk_gaps(record):
    """Microseconds from sending to the first chunk, then from each to the next."""
    return np.frombuffer(base64.b64decode(record.get("chunk_microseconds") or ""), "<u4").astype(np.int64)


def in_flight(records):
    """When the number of requests in flight changed, and to what."""
    spans = [(r["start_time"], r["end_time"]) for r in records if r["sent"] and r["end_time"] > r["start_time"]]
    found, count = [], 0
    for time, change in sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans]):
        count += change
        found.append((time, count))
    return found


def met(record, slo):
    if record["error"] is not None:
        return False
    short = record["completion_tokens"] is not None and record["completion_tokens"] <= record.get("samples", 1)
    took = {
        "ttft_seconds": record["ttft_seconds"],
        "tpot_seconds": 0.0 if short else record["tpot_seconds"],
        "e2e_seconds": record["end_time"] - record["start_time"],
    }
    return all(took[name] is not None and took[name] <= bound for name, bound in slo.items() if bound is not None)


def goodput(records, slo, seconds):
    sent = [record for record in records if record["sent"]]
    good = sum(met(record, slo) for record in sent)
    return {"requests": good, "requests_per_second": ratio(good, seconds), "fraction": ratio(good, len(sent))}


def speed(records, wall, options):
    """The figures of speed of these records."""
    answered = [record for record in records if record["error"] is None]

    def tokens(name):
        values = [record[name] for record in answered]
        return sum(values) if values and None not in values else None

    prompt, completion = tokens("prompt_tokens"), tokens("completion_tokens")
    starts = [record["start_time"] for record in records if record["sent"] and record["turn"] == 0]
    streamed = [r for r in answered if r.get("samples", 1) == 1 and r["num_chunks"] is not None and not r.get("lumped")]
    gaps = [gap / 1e6 for record in streamed for gap in chunk_gaps(record)[1:].tolist()]
    between = sum(record["num_chunks"] - 1 for record in streamed)
    shown, slo = [f"{q:g}" for q in options.get("percentiles", [])], options.get("slo")
    span = max(starts) - min(starts) if len(starts) > 1 else 0
    both = prompt + completion if None not in (prompt, completion) else None
    return {
        "wall_seconds": wall,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "output_tokens_per_second": ratio(completion, wall) if completion is not None else None,
        "total_tokens_per_second": ratio(both, wall) if both is not None else None,
        "requests_per_second": ratio(len(answered), wall),
        "prompts_started_per_second": ratio(len(starts) - 1, span),
        "mean_concurrency": ratio(sum(r["end_time"] - r["start_time"] for r in records if r["sent"]), wall),
        "peak_concurrency": max((count for _, count in in_flight(records)), default=0),
        **{name: spread([of(record) for record in answered], len(answered), shown) for name, of in LATENCIES.items()},
        "inter_chunk_pooled_seconds": spread(gaps, between, shown),
        "goodput": goodput(records, slo, wall) if slo else None,
    }


def steady(windows, concurrency, options):
    """Without ramp-up and tail."""
    seconds, inside, ended, tokens, busy, peak = 0.0, [], [], 0.0, 0.0, 0
    for records in windows:
        changes = in_flight(records)
        full = [i for i, (_, count) in enumerate(changes) if count >= concurrency]
        if not full or full[-1] + 1 == len(changes):
            continue
        start, end = changes[full[0]][0], changes[full[-1] + 1][0]
        seconds += end - start
        peak = max(peak, *(count for _, count in changes))
        for record in records:
            begun, done = record["start_time"], record["end_time"]
            if record["sent"]:
                busy += max(min(done, end) - max(begun, start), 0.0)
            if begun >= start and done <= end:
                inside.append(record)
            if start < done <= end:
                ended.append(record)
            if record["error"] is None and len(chunk_gaps(record)):
                times = begun + np.cumsum(chunk_gaps(record)) / 1e6
                tokens += record["completion_tokens"] * ((times > start) & (times <= end)).mean()
            elif record["error"] is None:
                share = max(min(done, end) - max(begun, start), 0.0) / (done - begun)
                tokens += record["completion_tokens"] * share
    if not seconds:
        return None
    slo = options.get("slo")
    return {
        "concurrency": concurrency,
        "seconds": seconds,
        "num_requests": sum(record["error"] is None for record in inside),
        "speed": speed(inside, seconds, options)
        | {
            "output_tokens_per_second": tokens / seconds,
            "total_tokens_per_second": None,
            "requests_per_second": sum(record["error"] is None for record in ended) / seconds,
            "mean_concurrency": busy / seconds,
            "peak_concurrency": peak,
            "goodput": goodput(ended, slo, seconds) if slo else None,
        },
    }


# A run


class Audit:
    """A run's files, and what follows from them in the shape of `metrics.json`."""

    def __init__(self, folder):
        self.folder = folder
        self.stored = json.loads((folder / "metrics.json").read_text())
        self.manifest = json.loads((folder / "manifest.json").read_text())
        lines = (folder / "output.jsonl").read_text().splitlines()
        self.records = [record for line in lines for record in json.loads(line)["requests"]]
        self.conditions = self.manifest.get("conditions") or {}
        self.texts = sorted((folder / "snapshots").glob("*.txt"))

    def window(self, category):
        """The records, the two texts and the wall time of a category, or of everything."""
        marked = [i for i, path in enumerate(self.texts) if category is not None and f"-after-{category}-" in path.name]
        apart = bool(marked)
        chosen = [r for r in self.records if category is None or r["category"] == category]
        texts = (self.texts[0], self.texts[-1]) if category is None else ()
        if apart:
            texts = (self.texts[marked[0] - 1], self.texts[marked[-1]])
        ended = [record for record in chosen if record["error"] is None]
        span = max(r["end_time"] for r in ended) - min(r["start_time"] for r in ended) if ended else 0.0
        if category is None:
            wall = self.conditions.get("wall_seconds", self.stored["overall"]["speed"]["wall_seconds"])
        elif apart:
            stored = self.stored["categories"][category]["speed"]["wall_seconds"]
            wall = (self.conditions.get("category_wall_seconds") or {}).get(category, stored)
            assert 0 <= wall - span < 0.5, (category, wall, span)
        else:
            wall = span
        return chosen, texts, wall

    def sources(self, records, texts):
        """Every source of acceptance that a window has."""
        found = {}
        answered = [record for record in records if record["error"] is None]
        told = any(record["counts"] is not None for record in records)
        if told and all(counts_of(record) is not None for record in answered):
            kept = next(r["counts_source"] for r in records if r["counts"] is not None)
            found[kept or "response"] = from_answers(records)
        if texts:
            length = self.manifest["server"].get("draft_length")
            found["counters"] = from_counters(*(samples(path.read_text()) for path in texts), length)
        return found

    def part(self, category):
        """What the files say of a category, or of everything."""
        records, texts, wall = self.window(category)
        sources = self.sources(records, texts)
        options = self.conditions.get("speed") or {}
        told = [r["cached_prompt_tokens"] for r in records if r.get("cached_prompt_tokens") is not None]
        cached, prompts = sum(told), sum(r["prompt_tokens"] or 0 for r in records if r["error"] is None)
        if not told and texts:
            cached, prompts = cached_in_counters(*(samples(path.read_text()) for path in texts))
        cache = {"cached_tokens": cached, "prompt_tokens": prompts}
        silent = rates(None, None, None, None) if not sources else None
        return sources, {
            "num_prompts": len({(r["category"], r["question_id"]) for r in records}),
            "num_requests": len(records),
            "num_failed": sum(record["error"] is not None for record in records),
            "acceptance": next(iter(sources.values()), silent),
            "speed": speed(records, wall, options),
            "steady_state": None,
            "prompt_cache": cache | {"fraction": cached / prompts} if (told or texts) and cached is not None else None,
        }

    def own(self):
        """All of `metrics.json`, as far as it is figures."""
        sources, overall = self.part(None)
        overall["acceptance"] = dict(overall["acceptance"])
        if overall["acceptance"]["tokens_per_step"] is None and "counters" in sources:
            overall["acceptance"]["tokens_per_step"] = sources["counters"]["tokens_per_step"]
        categories = {name: self.part(name)[1] for name in self.stored["categories"]}
        options = self.conditions.get("speed") or {}
        if options.get("steady_state") and self.conditions.get("request_rate") is None:
            apart = any("-after-" in p.name and not re.search(r"-after-\d", p.name) for p in self.texts)
            windows = [self.window(name)[0] for name in categories] if apart else [self.records]
            overall["steady_state"] = steady(windows, self.conditions["concurrency"], options)
        told = any(source != "counters" for source in sources)
        return {
            "overall": overall,
            "averages": averages(
                self.records, overall["acceptance"], categories, told, self.conditions.get("categories_planned")
            ),
            "categories": categories,
            "sources": sources,
        }

    def compare(self):
        """Figures recomputed, those that differ (path, stored, own), and those that were not recomputed."""
        stored = {path: value for path, value in figures(self.stored).items() if not NOT_FIGURES.search(path)}
        own = figures(self.own())
        both = [path for path in stored if path in own]
        wrong = [(path, stored[path], own[path]) for path in both if not close(stored[path], own[path])]
        # Null where the files tell something.
        wrong += [
            (path, None, {key: own[key] for key in own if key.startswith(f"{path}/") and own[key] is not None})
            for path, value in stored.items()
            if value is None and any(key.startswith(f"{path}/") and own[key] is not None for key in own)
        ]
        return both, wrong, [path for path, value in stored.items() if path not in own and value is not None]

    def times(self):
        """Durations of answers that do not follow from the times of their chunks, kept in whole microseconds."""
        wrong = []
        for record in self.records:
            gaps = chunk_gaps(record) / 1e6
            if not len(gaps):
                continue
            tokens = (record["completion_tokens"] or 0) / record.get("samples", 1)
            own = {
                "ttft_seconds": gaps[0],
                "tpot_seconds": gaps[1:].sum() / (tokens - 1) if len(gaps) > 1 and tokens > 1 else None,
                "inter_chunk_seconds": gaps[1:].mean() if len(gaps) > 1 else None,
                "num_chunks": len(gaps),
            }
            wrong += [
                (record["response_id"], name, record[name], value)
                for name, value in own.items()
                if value is not None and abs((record[name] or 0.0) - value) > 1.5e-6
            ]
        return wrong


def main():
    bad = False
    for name in sys.argv[1:]:
        audit = Audit(Path(name))
        both, wrong, left = audit.compare()
        wrong += audit.times()
        print(f"{name}: {len(both)} figures recomputed, {len(wrong)} differ, {len(left)} not recomputed")
        for line in [*wrong, *left][:40]:
            print("  ", line)
        bad = bad or bool(wrong or left)
    sys.exit(bad)


if __name__ == "__main__":
    main()
