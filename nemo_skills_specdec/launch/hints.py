"""Why an engine did not start, read off the end of its log."""

from __future__ import annotations

import re

_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"out of memory|OutOfMemoryError|No available memory for the cache blocks|Not enough memory\. "
        r"|less than desired (?:GPU|device) memory",
        "it is out of memory; lower gpu_memory_utilization or max_model_len, raise tensor_parallel_size, or stop "
        "other processes on the GPU",
    ),
    (
        r"larger than the maximum number of tokens that can be stored|needed, which is larger than the available KV "
        r"cache memory",
        "the context does not fit into the cache; lower max_model_len or raise gpu_memory_utilization",
    ),
    (r"[Aa]ddress already in use|EADDRINUSE", "its port is in use; leave out port to take a free one"),
    (
        r"GatedRepoError|gated repo|is restricted and you are not in the authorized list|403 Client Error",
        "the model is gated; accept its licence on the Hub and export HF_TOKEN",
    ),
    (r"401 Client Error|Invalid credentials|Invalid user token", "the Hub refuses access; export a valid HF_TOKEN"),
    (
        r"LocalEntryNotFoundError|outgoing traffic has been disabled|offline mode is enabled",
        "the model is not in the cache and the Hub cannot be reached; fetch it first, or give a local folder",
    ),
    (
        r"RepositoryNotFoundError|is not a local folder and is not a valid model identifier|Repo id must"
        r"|Can't load the configuration of|does not appear to have a file named|404 Client Error"
        r"|Invalid repository ID or local directory",
        "the model was not found; check the name or path of the model and of the drafter",
    ),
    (
        r"error: unrecognized arguments: (?P<detail>.+)",
        "this version does not know the argument {detail}; drop it or use another version",
    ),
    (r"error: argument (?P<detail>[^\n]+)", "it refuses an argument: {detail}"),
    (
        r"Unexpected keyword argument|unexpected keyword argument",
        "it refuses a key of its speculative configuration; see the log, and the engine's version",
    ),
    (
        r"World size \(?\d+\)? is larger than the number of available GPUs|not enough GPUs|exceeds the number of "
        r"available (?:GPUs|devices)",
        "there are fewer GPUs than tensor_parallel_size asks for",
    ),
    (
        r"No CUDA GPUs are available|Failed to infer device type|No accelerator \(CUDA",
        "it found no GPU; is the driver visible, and is this a build for this machine?",
    ),
    # An error that names the setting: the name alone stands in the dump of all settings, which every log begins with.
    (r"Error[^\n]*speculative[_-]num[_-]steps", "SGLang refuses the shape of the drafts; see the log"),
    (
        r"arctic[-_]inference",
        "suffix decoding needs the package arctic-inference in the engine's environment",
    ),
    (r"No module named '?(?P<detail>[\w.]+)'?", "its environment lacks the module {detail}"),
    (r"Illegal instruction|SIGILL", "the build uses instructions that this processor does not have"),
)


def hint(log: str) -> str | None:
    """What went wrong and what to do, in one phrase; None if nothing known stands in the log.

    The cause that stands last in the log wins over earlier ones of the same kind, but kinds are asked in the order of
    how sure they are: an engine that is out of memory prints much else afterwards.
    """
    for pattern, advice in _CAUSES:
        found = list(re.finditer(pattern, log))
        if found:
            detail = found[-1].groupdict().get("detail") or ""
            return advice.replace("{detail}", detail.strip()[:200])
    return None
