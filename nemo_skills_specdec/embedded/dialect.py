"""What a dialect is: how the server names, answers and describes."""

import time
import uuid
from collections.abc import Sequence as Items
from typing import Any, Protocol

import msgspec

from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.protocol import GenerationRequest
from nemo_skills_specdec.embedded.sequence import Sequence, StepOutput
from nemo_skills_specdec.embedded.service import Channel

Body = dict[str, Any]


class Reply(msgspec.Struct, frozen=True):
    """A request on its way out: what every chunk and the final body need.

    Attributes:
        reply_id: the response's `id`.
        created: seconds since the epoch.
        received: the same with fraction, when the request came in.
    """

    reply_id: str
    model: str
    created: int
    received: float
    request: GenerationRequest
    channel: Channel


class Metrics(Protocol):
    """The text behind `/metrics`."""

    @property
    def content_type(self) -> str:
        """Its media type, version included."""

    def render(self) -> bytes:
        """The exposition at this moment."""


class Dialect(Protocol):
    """How one real server speaks."""

    @property
    def metrics(self) -> Metrics | None:
        """The text behind `/metrics`; None if the path does not exist."""

    def names(self, request: GenerationRequest) -> tuple[str, list[str]]:
        """The response's id, and one name for each sequence."""

    def answer(self, reply: Reply) -> Body:
        """The body of a response that is not streamed."""

    def opening(self, reply: Reply, index: int) -> Body | None:
        """The chunk before the first text of a choice."""

    def chunks(self, reply: Reply, index: int, output: StepOutput) -> list[Body]:
        """The chunks of one step."""

    def closing(self, reply: Reply) -> list[Body]:
        """The chunks after the last text: statistics and usage."""

    def answered(self, reply: Reply) -> None:
        """Called once the response has been sent completely."""


def reply(reply_id: str, model: str, request: GenerationRequest, channel: Channel) -> Reply:
    """A reply begun now."""
    now = time.time()
    return Reply(reply_id, model, int(now), now, request, channel)


def body_head(reply: Reply, chat_object: str) -> Body:
    """The fields that begin every body and chunk; `chat_object` is its kind where the request is a chat."""
    return {
        "id": reply.reply_id,
        "object": chat_object if reply.request.chat else "text_completion",
        "created": reply.created,
        "model": reply.model,
    }


def model_card(options: EmbeddedOptions, context: int, started: int) -> Body:
    """The one entry of `GET /v1/models`."""
    name = options.served_model_name
    return {
        "id": name,
        "object": "model",
        "created": started,
        "owned_by": options.dialect,
        "root": name,
        "parent": None,
        "max_model_len": context,
    }


def fresh_name() -> str:
    """32 random hexadecimal digits."""
    return uuid.uuid4().hex


def usage(sequences: Items[Sequence]) -> dict[str, int]:
    """Tokens of a request: the prompt once, all samples."""
    prompt = sequences[0].prompt_length
    completion = sum(sequence.generated for sequence in sequences)
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def usage_so_far(output: StepOutput) -> dict[str, int]:
    """The same for one sequence as of one step; the sequence itself may be further by now."""
    prompt = output.sequence.prompt_length
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + output.generated,
        "completion_tokens": output.generated,
    }


def truncation(sequences: Items[Sequence]) -> dict[str, int]:
    """`truncated_prompt_tokens` where a prompt was cut, else nothing; a field of ours."""
    return {"truncated_prompt_tokens": sequences[0].truncated} if sequences[0].truncated else {}
