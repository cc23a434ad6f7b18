"""Settings that must be made before numpy is loaded."""

import os

# Matrices as small as the embedded engine's are slower on several threads. The libraries read this when first loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
