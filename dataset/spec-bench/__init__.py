"""spec-bench for NeMo-Skills, measured by nemo_skills_specdec: settings only."""

from pathlib import Path

from nemo_skills_specdec.evaluator.folder_settings import evaluates_in_own_process, generation_args
from nemo_skills_specdec.evaluator.shipping import register_package

METRICS_TYPE = "nemo_skills_specdec.evaluator.metrics::SpecdecMetrics"
GENERATION_MODULE = "nemo_skills_specdec.evaluator.generation"
GENERATION_ARGS = generation_args(Path(__file__).parent)
EVAL_SPLIT = "test"
if evaluates_in_own_process():
    # NeMo-Skills before 2025-10-23 insists on these; later ones refuse them.
    EVAL_ARGS = "++eval_type=no-op ++remove_thinking=False"

register_package(Path(__file__).parent)
