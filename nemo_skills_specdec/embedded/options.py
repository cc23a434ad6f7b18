"""How an embedded server is set up: `EmbeddedOptions`, its check, and its form as an argument."""

from typing import Literal

import msgspec

from nemo_skills_specdec.embedded.draft_tree import DraftTree, parse_tree
from nemo_skills_specdec.errors import UsageError

DialectName = Literal["vllm", "sglang"]
DraftMethod = Literal["draft_model", "ngram", "none"]
PerRequestStats = Literal["none", "summary", "detailed"]

API_KEY_VARIABLE = "SPECDEC_EMBEDDED_API_KEY"
"""The key travels in this environment variable, never on a command line, where every process could read it."""


class EmbeddedOptions(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything that shapes an embedded server.

    Attributes:
        dialect: whose endpoints, response fields and metrics the server speaks.
        method: where drafts come from; `none` decodes one token a step.
        draft_length: K, draft tokens proposed a step. SGLang's `speculative_num_draft_tokens` is one more.
        draft_tree: the tree that `draft_model` drafts in every step instead of a chain, in a form that
            `draft_tree.parse_tree` reads; `draft_length` is then without effect. Only in the sglang dialect: vLLM has
            no trees.
        prompt_lookup_min: shortest n-gram that `ngram` looks up, in tokens.
        prompt_lookup_max: longest one, tried first.
        max_num_seqs: sequences decoded together, per engine; further ones wait.
        max_model_len: context in tokens, prompt and output together; None takes the model's.
        data_parallel_size: engines in this server; requests go to them in turn, and counters carry their label.
        port: port to bind; 0 takes a free one.
        api_key: bearer token that `/v1` asks for (and every path but health and metrics in the sglang dialect).
        protect_metrics: ask for the key on `/metrics` too.
        per_request_stats: vllm dialect: how much `metrics.speculative_decoding` of a response holds.
        disable_log_stats: no engine series on `/metrics` (vllm), or no `/metrics` at all (sglang).
        export_metrics_dir: sglang dialect: folder for request-metric files; None writes none.
        decode_log_interval: sglang dialect: decode iterations between two updates of the gauges.
        seed: seeds requests that bring no seed of their own; None takes entropy from the system.
        served_model_name: the name clients ask for.
        model_dir: folder with `target/`, `draft/` and `tokenizer.json`; None takes the pair of this package.
        draft_dir: folder of another draft model for the same target; None takes `draft/` beside it.
        ledger_requests: finished requests whose steps stay readable; totals never forget.
    """

    dialect: DialectName = "vllm"
    method: DraftMethod = "draft_model"
    draft_length: int = 3
    draft_tree: str | None = None
    prompt_lookup_min: int = 2
    prompt_lookup_max: int = 4
    max_num_seqs: int = 64
    max_model_len: int | None = None
    data_parallel_size: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = None
    protect_metrics: bool = False
    per_request_stats: PerRequestStats = "detailed"
    disable_log_stats: bool = False
    export_metrics_dir: str | None = None
    decode_log_interval: int = 40
    seed: int | None = 0
    served_model_name: str = "specdec-mini"
    model_dir: str | None = None
    draft_dir: str | None = None
    ledger_requests: int = 20_000

    @property
    def speculative(self) -> bool:
        """Whether any step can carry a draft."""
        return self.method != "none"

    @property
    def tree(self) -> DraftTree | None:
        """The draft tree; None for chains."""
        return None if self.draft_tree is None else parse_tree(self.draft_tree)

    @property
    def positions(self) -> int:
        """The most draft tokens that one step can accept: K of a chain, the depth of a tree."""
        return self.draft_length if self.tree is None else self.tree.depth

    @property
    def proposed(self) -> int:
        """The most draft tokens that one step proposes: K of a chain, the nodes of a tree below its root."""
        return self.draft_length if self.tree is None else self.tree.size


def check(options: EmbeddedOptions) -> None:
    """Refuses options that contradict each other.

    Raises:
        UsageError: names the option and what it may be.
    """
    at_least_one = ("max_num_seqs", "data_parallel_size", "decode_log_interval", "prompt_lookup_min", "ledger_requests")
    for name in at_least_one:
        if getattr(options, name) < 1:
            raise UsageError(f"{name} is {getattr(options, name)}; it must be at least 1")
    if options.speculative and not 1 <= options.draft_length <= 32:
        raise UsageError(f"draft_length is {options.draft_length}; it must be between 1 and 32, or use method none")
    if options.tree is not None and options.method != "draft_model":
        raise UsageError(f"a draft tree needs method draft_model, not {options.method}")
    if options.tree is not None and options.dialect != "sglang":
        raise UsageError("vLLM verifies no trees; use a draft tree with dialect sglang")
    if options.prompt_lookup_max < options.prompt_lookup_min:
        raise UsageError(
            f"prompt_lookup_max ({options.prompt_lookup_max}) is below prompt_lookup_min ({options.prompt_lookup_min})"
        )
    if not 0 <= options.port <= 65535:
        raise UsageError(f"port is {options.port}; it must be between 0 (any free port) and 65535")
    if options.max_model_len is not None and options.max_model_len < 32:
        raise UsageError(f"max_model_len is {options.max_model_len}; it must be at least 32")
    if options.export_metrics_dir is not None and options.dialect != "sglang":
        raise UsageError("request-metric files belong to the sglang dialect; use dialect sglang or drop the folder")
    if options.protect_metrics and options.api_key is None:
        raise UsageError("protect_metrics needs an API key")
    if options.seed is not None and options.seed < 0:
        raise UsageError(f"seed is {options.seed}; it must not be negative")


def to_json(options: EmbeddedOptions) -> str:
    """The one argument of `python -m nemo_skills_specdec.embedded`; the API key is left out."""
    return msgspec.json.encode(msgspec.structs.replace(options, api_key=None)).decode()


def from_json(text: str, *, api_key: str | None) -> EmbeddedOptions:
    """Reads what `to_json` wrote, or any JSON object with some of the options.

    Args:
        api_key: from the environment.

    Raises:
        UsageError: it is not JSON, or holds an unknown option or an impossible value.
    """
    try:
        options = msgspec.json.decode(text, type=EmbeddedOptions)
    except msgspec.DecodeError as error:
        raise UsageError(f'options are one JSON object such as {{"method": "ngram"}} ({error})') from error
    return msgspec.structs.replace(options, api_key=api_key)
