"""Settings for every test; the first must be made before numpy is loaded."""

import os
import signal

from hypothesis import settings

# Matrices as small as the embedded engine's are slower on several threads. The libraries read this when first loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# A shell that starts a job in the background without job control lets it, and every child of it, ignore interrupts.
if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a machine that others use.
settings.register_profile("specdec", deadline=None)
settings.load_profile("specdec")
