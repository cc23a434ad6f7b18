"""The embedded engine's pair of models in the form that vLLM and SGLang load, so that real engines can be tried out.

The package holds the weights as int8 with a factor a row; engines want plain floating point, a folder a model.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.files import cache_root

SMALL = {"small": "target", "small-draft": "draft"}
"""Names that stand for the models of the pair, wherever a path of a model is expected."""

_SHARED = ("tokenizer.json", "tokenizer_config.json")


def model_path(name: str) -> str:
    """The folder of a small model, made in the cache when it is not there; any other name as it is.

    Raises:
        UsageError: the cache cannot be written.
    """
    if name not in SMALL:
        return name
    folder = cache_root() / f"small-models-{_fingerprint(SMALL[name])}" / SMALL[name]
    if not (folder / "model.safetensors").is_file():
        try:
            _make(SMALL[name], folder)
        except OSError as error:
            raise UsageError(
                f"cannot write {folder}: {error.strerror}; set SPECDEC_CACHE to a folder that can"
            ) from error
    return str(folder)


def _fingerprint(part: str) -> str:
    """Names the content, so that another version of the package does not take this one's models for its own."""
    folder = files("nemo_skills_specdec.embedded") / "models"
    digest = hashlib.sha256()
    for piece in (folder / part / "model.safetensors", folder / part / "config.json", *(folder / n for n in _SHARED)):
        digest.update(piece.read_bytes())
    return digest.hexdigest()[:12]


def _make(part: str, folder: Path) -> None:
    """Writes a model's folder beside its place, and moves it there when it is whole."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        as_file(files("nemo_skills_specdec.embedded") / "models") as models,
        tempfile.TemporaryDirectory(dir=folder.parent) as made,
    ):
        packed = load_file(models / part / "model.safetensors")
        plain = {
            name: (
                values.astype(np.float32) * packed[f"{name}.scale"].astype(np.float32)[:, None]
                if f"{name}.scale" in packed
                else values.astype(np.float32)
            )
            for name, values in packed.items()
            if not name.endswith(".scale")
        }
        target = Path(made) / part
        target.mkdir()
        save_file(plain, target / "model.safetensors", metadata={"format": "pt"})
        shutil.copy(models / part / "config.json", target)
        for name in _SHARED:
            shutil.copy(models / name, target)
        if not folder.exists():
            target.replace(folder)
