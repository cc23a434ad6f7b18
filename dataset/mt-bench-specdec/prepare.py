"""Prepares mt-bench-specdec; `--help` tells the options."""

import sys
from pathlib import Path

from nemo_skills_specdec.evaluator.dataset_folders import prepare_folder

if __name__ == "__main__":
    sys.exit(prepare_folder(Path(__file__).resolve().parent, sys.argv[1:]))
