"""One description of a speculation method, and what each engine calls it.

The draft length K counts draft tokens. SGLang's `speculative_num_draft_tokens` counts the verified nodes, the root
included, so a chain of K drafts has K + 1 of them.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.engines import vllm
from nemo_skills_specdec.engines.sglang import facts as sglang
from nemo_skills_specdec.engines.versions import at_least, version_text
from nemo_skills_specdec.errors import UsageError

MethodName = Literal["none", "ngram", "draft_model", "eagle", "eagle3", "mtp", "suffix", "dflash", "as_served"]
"""`as_served` is whatever a running server does: it was set up elsewhere."""

DEFAULT_DRAFT_LENGTH: dict[str, int] = {
    "none": 0,
    "ngram": 5,
    "draft_model": 3,
    "eagle": 3,
    "eagle3": 3,
    "mtp": 1,
    "suffix": 24,
    "dflash": 15,
    "as_served": 0,
}
"""Where a method says nothing. 24 is the depth of vLLM's suffix trees; DFlash drafters are trained for blocks of 16."""

HAS_DRAFTER: tuple[MethodName, ...] = ("draft_model", "eagle", "eagle3", "mtp", "dflash")
"""Methods that may have a drafter of their own."""

DEFAULT_LOOKUP_MAX = 4
_SUFFIX_PACKAGE = "arctic-inference"


class Method(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Speculation method.

    Attributes:
        draft_length: K; None takes the default of the method.
        draft_model: path or Hub name of the drafter, for the methods that have one of their own.
        drafter: a short name for `draft_model`, where several drafters are compared.
        drafter_order: its place among them, from 0: the order of a training run's checkpoints.
        prompt_lookup_min: shortest n-gram looked up; None takes the same as the longest, as vLLM does.
        prompt_lookup_max: longest n-gram looked up, for `ngram`.
        topk: branches per draft step; above 1 the draft is a tree.
        num_draft_tokens: nodes of the tree that are verified, the root included, as SGLang counts them. A chain has
            `draft_length` + 1.
        draft_tensor_parallel_size: GPUs of the drafter; None takes the engine's default.
        vllm: further keys of vLLM's `--speculative-config`; they win.
        sglang: further arguments for SGLang.
    """

    name: MethodName = "none"
    draft_length: int | None = None
    draft_model: str | None = None
    drafter: str | None = None
    drafter_order: int | None = None
    prompt_lookup_min: int | None = None
    prompt_lookup_max: int = DEFAULT_LOOKUP_MAX
    topk: int = 1
    num_draft_tokens: int | None = None
    draft_tensor_parallel_size: int | None = None
    vllm: dict[str, Any] = {}
    sglang: list[str] = []

    @property
    def length(self) -> int:
        """K, the default filled in."""
        return DEFAULT_DRAFT_LENGTH[self.name] if self.draft_length is None else self.draft_length

    @property
    def label(self) -> str:
        """A short name for tables and folders, such as `eagle3-k3`, `eagle-k5-top4-n16` or `eagle3-k3-step2000`."""
        if self.name in ("none", "as_served"):
            return self.name
        drafter = f"-{self.drafter}" if self.drafter else ""
        tree = f"-top{self.topk}-n{self.num_draft_tokens}" if self.topk > 1 else ""
        return f"{self.name}-k{self.length}{tree}{drafter}"


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """A method in an engine's own arguments.

    Attributes:
        remarks: what of the description has no counterpart in this engine; printed and stored.
    """

    arguments: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class MethodRefused(UsageError):
    """The engine, or this version of it, does not have the method."""


def check_method(method: Method) -> None:
    """Refuses a description that contradicts itself.

    Raises:
        UsageError: names the key and what it may be.
    """
    if method.name in ("none", "as_served"):
        given = [key for key in ("draft_length", "draft_model", "num_draft_tokens") if getattr(method, key) is not None]
        if given:
            raise UsageError(f"method {method.name} does not draft, so drop {' and '.join(given)}")
        return
    if method.length < 1:
        raise UsageError(f"draft_length is {method.length}; it must be at least 1, or use method none")
    if method.topk < 1:
        raise UsageError(f"topk is {method.topk}; it must be at least 1, which is a chain")
    if method.topk > 1 and method.num_draft_tokens is None:
        raise UsageError(f"a tree (topk {method.topk}) needs num_draft_tokens, the verified nodes with the root")
    if method.topk == 1 and method.num_draft_tokens not in (None, method.length + 1):
        raise UsageError(
            f"num_draft_tokens is {method.num_draft_tokens}, but a chain of draft_length {method.length} verifies "
            f"{method.length + 1} nodes; drop it, or give topk above 1 for a tree"
        )
    if method.name == "ngram":
        shortest = method.prompt_lookup_max if method.prompt_lookup_min is None else method.prompt_lookup_min
        if not 1 <= shortest <= method.prompt_lookup_max:
            raise UsageError(
                f"prompt_lookup_min ({shortest}) must lie between 1 and prompt_lookup_max ({method.prompt_lookup_max})"
            )
    if method.name in HAS_DRAFTER and method.name != "mtp" and method.draft_model is None:
        raise UsageError(f"method {method.name} needs a drafter; give draft_model, or a model that names one")
    if method.name in ("ngram", "suffix") and method.draft_model is not None:
        raise UsageError(f"method {method.name} has no draft model; drop draft_model")


def to_vllm(method: Method, version: str | None = None) -> Translation:
    """The method as vLLM's `--speculative-config` (0.8.5 and later).

    Args:
        version: of the engine; None stands for the newest.

    Raises:
        MethodRefused: vLLM, or this version, does not have it.
    """
    check_method(method)
    _check_known(method)
    if method.name == "none":
        return Translation()
    if method.topk > 1:
        raise MethodRefused("vLLM drafts chains only, no trees; use topk 1, or SGLang")
    if _older(version, vllm.SPECULATIVE_CONFIG_SINCE):
        since = version_text(vllm.SPECULATIVE_CONFIG_SINCE)
        raise MethodRefused(f"vLLM {version} has no --speculative-config for {method.name}; use {since} or later")
    config: dict[str, Any] = {"method": method.name, "num_speculative_tokens": method.length}
    if method.name == "ngram":
        config["prompt_lookup_max"] = method.prompt_lookup_max
        config["prompt_lookup_min"] = method.prompt_lookup_min or method.prompt_lookup_max
    if method.draft_model is not None:
        config["model"] = method.draft_model
    if method.draft_tensor_parallel_size is not None:
        if method.draft_model is None:
            raise MethodRefused(
                f"vLLM's method {method.name} has no drafter to spread over GPUs; drop draft_tensor_parallel_size"
            )
        config["draft_tensor_parallel_size"] = method.draft_tensor_parallel_size
    if method.name == "suffix":
        config["suffix_decoding_max_tree_depth"] = max(method.length, DEFAULT_DRAFT_LENGTH["suffix"])
    remarks = []
    if method.name == "suffix":
        remarks.append(f"vLLM's suffix decoding needs the package {_SUFFIX_PACKAGE} in the engine's environment")
    return Translation(
        arguments=("--speculative-config", json.dumps({**config, **method.vllm}, separators=(",", ":"))),
        remarks=tuple(remarks),
    )


def to_sglang(method: Method, version: str | None = None) -> Translation:
    """The method as SGLang's `--speculative-*` arguments (0.5 and later).

    Args:
        version: of the engine; None stands for the newest.

    Raises:
        MethodRefused: SGLang, or this version, does not have it.
    """
    check_method(method)
    _check_known(method)
    if method.name == "none":
        return Translation()
    algorithm, since = sglang.ALGORITHMS.get(method.name, (None, (0,)))
    if algorithm is None:
        raise MethodRefused(f"SGLang has no method {method.name}; use vLLM")
    if _older(version, since):
        raise MethodRefused(f"SGLang {version} has no {algorithm}; it came with {version_text(since)}")
    if method.draft_tensor_parallel_size is not None:
        raise MethodRefused("SGLang runs the drafter on all GPUs of the target; drop draft_tensor_parallel_size")
    nodes = method.num_draft_tokens or method.length + 1
    arguments: list[str] = ["--speculative-algorithm", algorithm]
    remarks: list[str] = []
    if method.name == "ngram":
        arguments += [
            *("--speculative-num-draft-tokens", str(nodes)),
            *("--speculative-ngram-min-bfs-breadth", "1"),
            *("--speculative-ngram-max-bfs-breadth", str(method.topk)),
        ]
        remarks.append(
            "SGLang's NGRAM looks up in a tree of all text it has served, not in the prompt alone, and always verifies "
            f"{nodes} nodes: prompt_lookup_min and prompt_lookup_max have no counterpart, and its acceptance must not "
            "be compared with another engine's n-gram"
        )
    elif method.name == "dflash":
        if method.topk > 1:
            raise MethodRefused("SGLang's DFLASH drafts blocks, no trees; use topk 1")
        arguments += ["--speculative-dflash-block-size", str(nodes)]
    else:
        arguments += [
            *("--speculative-num-steps", str(method.length)),
            *("--speculative-eagle-topk", str(method.topk)),
            *("--speculative-num-draft-tokens", str(nodes)),
        ]
    if method.draft_model is not None:
        arguments += ["--speculative-draft-model-path", method.draft_model]
    return Translation(arguments=(*arguments, *method.sglang), remarks=tuple(remarks))


def to_llamacpp(method: Method) -> Literal["ngram", "none"]:
    """The method as our llama.cpp server knows it.

    Raises:
        MethodRefused: it has no such method.
    """
    check_method(method)
    _check_known(method)
    if method.name not in ("ngram", "none") or method.topk > 1:
        raise MethodRefused(f"our llama.cpp server has no {method.label}; use ngram or none")
    return "ngram" if method.name == "ngram" else "none"


def to_embedded(method: Method, options: EmbeddedOptions) -> EmbeddedOptions:
    """The method as options of the embedded engine, which brings a draft model and takes others for its target.

    Raises:
        MethodRefused: it has no such method.
    """
    if method.name == "none":
        return msgspec.structs.replace(options, method="none")
    if method.name not in ("ngram", "draft_model") or method.topk > 1:
        raise MethodRefused(f"the embedded engine has no {method.label}; use ngram, draft_model or none")
    if method.name == "draft_model":
        return msgspec.structs.replace(
            options, method="draft_model", draft_length=method.length, draft_dir=method.draft_model
        )
    check_method(method)
    return msgspec.structs.replace(
        options,
        method="ngram",
        draft_length=method.length,
        prompt_lookup_max=method.prompt_lookup_max,
        prompt_lookup_min=method.prompt_lookup_min or method.prompt_lookup_max,
    )


def _check_known(method: Method) -> None:
    if method.name == "as_served":
        raise MethodRefused("method as_served is for a running server; name the method of a server started here")


def _older(version: str | None, wanted: tuple[int, ...]) -> bool:
    return at_least(version, wanted) is False
