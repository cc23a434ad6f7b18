"""The part of NeMo-Skills that the plugin leans on, small enough for tests: who calls what, and in which order.

Two eras differ in the name of the configuration class and in what happens when nothing is left to generate.
"""

import asyncio
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import requests

SETTINGS = {
    "prompt_format": "openai",
    "prompt_suffix": "",
    "max_samples": -1,
    "skip_filled": True,
    "max_concurrent_requests": 4,
    "dry_run": False,
    "num_chunks": None,
    "chunk_id": None,
    "metrics_urls": None,
    "request_metrics_dir": None,
    "dataset_folder": None,
    "server_wait_seconds": 5.0,
}


class BaseMetrics:
    def __init__(self, compute_no_answer=True):
        self.compute_no_answer = compute_no_answer
        self.reset()

    def reset(self):
        self.total, self.avg_tokens, self.start, self.end = 0, 0.0, float("inf"), float("-inf")

    def setup(self, input_files):
        pass

    def update(self, predictions):
        self.total += 1
        self.avg_tokens += sum(row["num_generated_tokens"] for row in predictions) / len(predictions)
        self.start = min([self.start, *(row["generation_start_time"] for row in predictions)])
        self.end = max([self.end, *(row["generation_end_time"] for row in predictions)])

    def update_common_metrics(self, line):
        line["num_entries"] = self.total
        line["avg_tokens"] = int(self.avg_tokens / self.total)
        line["gen_seconds"] = int(self.end - self.start)


class BaseEvaluator:
    def __init__(self, config):
        self.config = config


class GenerationTask:
    def __init__(self, cfg):
        self.cfg = cfg
        self.llm = cfg.llm
        self.semaphore = asyncio.Semaphore(cfg.max_concurrent_requests)

    @classmethod
    def get_server_command_fn(cls):
        raise AssertionError("the original builder is not what the plugin gives out")

    def load_data(self):
        rows = [json.loads(line) for line in Path(self.cfg.input_file).read_text().splitlines()]
        return rows[: self.cfg.max_samples] if self.cfg.max_samples > 0 else rows

    def skip_completed_samples(self, data):
        if self.cfg.skip_filled and Path(self.cfg.output_file).exists():
            return []
        path = Path(self.cfg.output_file + "-async")
        filled = (
            {json.loads(line)["_async_position"] for line in path.read_text().splitlines()} if path.exists() else ()
        )
        return [{**row, "_async_position": place} for place, row in enumerate(data) if place not in filled]

    def wait_for_server(self):
        raise AssertionError("a server with a base_url is waited for by the plugin")

    async def process_single_datapoint(self, data_point, all_data, **rest):
        if self.cfg.prompt_suffix:
            data_point["messages"][-1]["content"] += self.cfg.prompt_suffix
        return await self.generate_with_semaphore(prompt=data_point["messages"], **self.cfg.inference)

    async def _generate_and_save(self, row, data, file):
        output = await self.process_single_datapoint(row, data)
        output |= {"generation_start_time": 1.0, "generation_end_time": 2.0}
        file.write(json.dumps({**row, **output}) + "\n")
        file.flush()

    async def async_loop(self, data):
        with open(self.cfg.output_file + "-async", "a") as file:
            await asyncio.gather(*(self._generate_and_save(row, data, file) for row in data))
        path = Path(self.cfg.output_file + "-async")
        rows = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda r: r["_async_position"])
        lines = [json.dumps({k: v for k, v in row.items() if k != "_async_position"}) + "\n" for row in rows]
        Path(self.cfg.output_file).write_text("".join(lines))
        path.unlink()

    def generate(self):
        Path(self.cfg.output_file).absolute().parent.mkdir(parents=True, exist_ok=True)
        data = self.skip_completed_samples(self.load_data())
        if data:
            if (given := self.cfg.server.get("base_url")) and given != "None":
                self.wait_for_server()
            asyncio.run(self.async_loop(data))


class Response:
    """A response as NeMo-Skills' client hands it on."""

    def __init__(self, body):
        self.body = body

    def model_dump(self):
        choices = []
        for choice in self.body["choices"]:
            known = {key: choice[key] for key in ("finish_reason", "index", "message")}
            choices.append(known | {"provider_specific_fields": {k: v for k, v in choice.items() if k not in known}})
        return {**self.body, "choices": choices}


class RejectedError(Exception):
    def __init__(self, status_code, message):
        super().__init__(message)
        self.status_code = status_code


class Client:
    """Sends chat completions and keeps every body in `seen`.

    After `fail_after` answers the connection is lost; a prompt that holds `rejected` is refused with status 400.
    """

    def __init__(self, url, model="specdec-mini", fail_after=None, rejected=None):
        self.base_url, self.model, self.fail_after, self.rejected = f"{url}/v1", model, fail_after, rejected
        self.seen = []

    async def generate_async(self, prompt, tokens_to_generate, temperature, include_response, extra_body, **rest):
        if self.fail_after is not None and len(self.seen) >= self.fail_after:
            raise ConnectionError("connection lost")
        body = {
            "model": self.model,
            "messages": [dict(message) for message in prompt],
            "max_tokens": tokens_to_generate,
            "temperature": temperature,
            **extra_body,
        }
        self.seen.append(body)
        if self.rejected is not None and self.rejected in prompt[-1]["content"]:
            raise RejectedError(400, "this prompt is too long for\nthe model")
        answer = await asyncio.to_thread(requests.post, f"{self.base_url}/chat/completions", json=body, timeout=60)
        if answer.status_code != 200:
            raise RejectedError(answer.status_code, answer.text)
        told = answer.json()
        return {
            "generation": told["choices"][0]["message"]["content"],
            "num_generated_tokens": told["usage"]["completion_tokens"],
            "finish_reason": told["choices"][0]["finish_reason"],
            **({"response": Response(told)} if include_response else {}),
        }


def settings(input_file, output_file, client, **changes):
    inference = {"temperature": 0.0, "tokens_to_generate": 16, "extra_body": {}}
    names = SimpleNamespace(**inference, top_p=0.95, top_k=-1, random_seed=0)
    names.keys = inference.keys
    values = {
        **SETTINGS,
        "input_file": str(input_file),
        "output_file": str(output_file),
        "llm": client,
        "server": {"base_url": client.base_url, "server_type": "vllm", "model": client.model},
        "inference": _Inference(inference),
        **changes,
    }
    return SimpleNamespace(**values)


class _Inference(dict):
    """Read by attribute and by key, as OmegaConf's."""

    top_p, top_k, random_seed = 0.95, -1, 0

    def __getattr__(self, name):
        return self[name]


def install(monkeypatch):
    """Puts the stand-in where `import nemo_skills` finds it."""

    def module(name, **content):
        made = ModuleType(name)
        made.__dict__.update(content)
        made.__path__ = []
        monkeypatch.setitem(sys.modules, name, made)

    for name in ("nemo_skills", "nemo_skills.inference", "nemo_skills.evaluation", "nemo_skills.evaluation.metrics"):
        module(name)
    module("nemo_skills.evaluation.evaluator")
    module("nemo_skills.inference.generate", GenerationTask=GenerationTask)
    module("nemo_skills.evaluation.metrics.base", BaseMetrics=BaseMetrics)
    module("nemo_skills.evaluation.evaluator.base", BaseEvaluator=BaseEvaluator)
    module("nemo_skills.pipeline")
    module("nemo_skills.pipeline.utils", get_server_command=server_command)
    module("omegaconf", OmegaConf=SimpleNamespace(is_config=lambda value: False))


def server_command(server_type, num_gpus, num_nodes, model_path, cluster_config, server_port, server_args=""):
    return f"serve {server_type} {server_args}", 1
