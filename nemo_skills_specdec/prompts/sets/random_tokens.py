"""Prompts of random tokens, which other tools use to load servers. They misstate acceptance, and we say so."""

from __future__ import annotations

import random
from pathlib import Path

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.prompt_set import PromptSet, SetOptions, local_origin, prompt_row, text_id
from nemo_skills_specdec.records import Finding

FINDING = Finding(
    code="random_prompts",
    severity="warning",
    message="Prompts of random tokens bias acceptance: the model answers nonsense with short stock phrases or by "
    "latching on to a topic, which drafters predict better or worse than real text; use them for load tests only.",
)


def load_random(options: SetOptions) -> PromptSet:
    """Prompts of uniformly drawn tokens; the same seed and tokenizer give the same prompts.

    The text is what the drawn ids decode to; encoded again it may have a few tokens more or less.

    Raises:
        UsageError: no tokenizer is given, or it cannot be read.
    """
    from tokenizers import Tokenizer

    path = options.tokenizer
    if path is None:
        raise UsageError("random prompts need the model's tokenizer; give its tokenizer.json with --tokenizer")
    file = path / "tokenizer.json" if path.is_dir() else Path(path)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        raise UsageError(f"cannot read {file} ({error}); give a tokenizer.json with --tokenizer") from error
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    ids = [token for token in range(tokenizer.get_vocab_size()) if token not in special]
    draw = random.Random(options.seed)
    rows = []
    for number in range(options.num_prompts):
        text = tokenizer.decode([draw.choice(ids) for _ in range(options.prompt_tokens)])
        identity = text_id(f"random {options.seed} {number} {text}")
        rows.append(prompt_row(identity, "random", [text], source="random tokens", src_id=str(number)))
    return PromptSet(rows=rows, origins=[local_origin(file)], findings=[FINDING])
