"""NeMo-Skills' generation task, `GENERATION_MODULE = "nemo_skills_specdec.evaluator.generation"`.

    python -m nemo_skills_specdec.evaluator.generation ++input_file=... ++output_file=... ++server.server_type=vllm ...

It replays conversations turn by turn, asks the server for statistics of every request, and puts a window around every
attempt. Everything that knows NeMo-Skills is built when it is first asked for; the features of the NeMo-Skills found,
not its version, decide how.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from nemo_skills_specdec.errors import SpecdecError, UsageError

# Dataset folders that were written before these had modules of their own import them from here.
from nemo_skills_specdec.evaluator.folder_settings import evaluates_in_own_process as evaluates_in_own_process
from nemo_skills_specdec.evaluator.server_flags import have_server_scripts_tell, telling_builder
from nemo_skills_specdec.evaluator.shipping import register_package as register_package
from nemo_skills_specdec.evaluator.task import MeasuredConversations
from nemo_skills_specdec.evaluator.wording import in_a_job
from nemo_skills_specdec.shown import plain

LOG = logging.getLogger("nemo_skills.specdec")


def __getattr__(name: str) -> Any:
    if name == "GENERATION_TASK_CLASS":
        return task_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _config_class() -> type:
    from hydra.core.config_store import ConfigStore
    from nemo_skills.inference import generate
    from nemo_skills.utils import nested_dataclass

    base: Any = getattr(generate, "GenerationTaskConfig", None) or generate.GenerateSolutionsConfig

    @nested_dataclass(kw_only=True)  # type: ignore[untyped-decorator,unused-ignore]
    class SpecdecConfig(base):  # type: ignore[misc]
        prompt_format: str = "openai"
        max_concurrent_requests: int = 32
        metrics_urls: Any = None
        request_metrics_dir: Any = None
        dataset_folder: Any = None
        server_wait_seconds: float = 600.0

        def _post_init_validate_params(self) -> None:
            if self.prompt_format != "openai" or self.prompt_config is not None:
                raise UsageError("prompts are sent as they are; drop ++prompt_format and ++prompt_config")
            endpoint = str(getattr(self.inference.endpoint_type, "value", self.inference.endpoint_type))
            if endpoint.rpartition(".")[2] != "chat":
                raise UsageError("conversations need the chat API; drop ++inference.endpoint_type")
            if self.code_execution or self.tool_modules or self.parallel_thinking.mode:
                raise UsageError("code execution, tools and parallel thinking change what is sent; drop them")
            super()._post_init_validate_params()

    ConfigStore.instance().store(name="specdec_generation", node=SpecdecConfig)
    return cast(type, SpecdecConfig)


@cache
def task_class() -> type:
    """NeMo-Skills' generation task with our window around it."""
    from nemo_skills.inference.generate import GenerationTask

    class SpecdecTask(MeasuredConversations, GenerationTask):  # type: ignore[misc]
        """Generates, and says how many drafts were accepted on the way."""

        @classmethod
        def get_generation_default_args(cls) -> str:
            """What NeMo-Skills asks for when it has chosen its benchmarks and before it starts a server."""
            have_server_scripts_tell()
            return str(super().get_generation_default_args())

    def get_server_command_fn() -> Callable[..., tuple[str, int]]:
        from nemo_skills.pipeline.utils import get_server_command

        return telling_builder(get_server_command)

    # NeMo-Skills refuses to group jobs whose task has a builder of its own, because a group shares one server and it
    # would not know whose builder to take. Ours only adds flags, and a server with or without them serves every task,
    # so it goes by the name of the original.
    get_server_command_fn.__func__ = GenerationTask.get_server_command_fn.__func__  # type: ignore[attr-defined]
    SpecdecTask.get_server_command_fn = staticmethod(get_server_command_fn)
    return SpecdecTask


def main() -> None:
    """Runs the task as NeMo-Skills starts it: what the user can mend is one line on stderr, without a traceback."""
    import hydra
    from nemo_skills.inference.model import server_params
    from nemo_skills.utils import get_help_message, setup_logging

    config, task = _config_class(), task_class()
    if "--help" in sys.argv or "-h" in sys.argv:
        print(get_help_message(config, server_params=server_params()))
        return
    setup_logging()

    @hydra.main(version_base=None, config_name="specdec_generation")  # type: ignore[untyped-decorator,unused-ignore]
    def run(settings: Any) -> None:
        try:
            task(config(_init_nested=True, **settings)).generate()
        except SpecdecError as error:
            _give_up(in_a_job(str(error)), 2)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("litellm", "openai", "httpx"):
                raise
            _give_up(
                f"a request failed: {_one_line(error)}; finished rows are kept; run the same command again to resume", 1
            )

    run()


def _give_up(message: str, code: int) -> None:
    # A progress bar may have left its line open.
    print(f"\nnemo_skills_specdec: {plain(message)}", file=sys.stderr, flush=True)
    sys.exit(code)


def _one_line(error: BaseException) -> str:
    from nemo_skills_specdec.client.faults import one_line

    return one_line(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
