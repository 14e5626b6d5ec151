"""What must hold before any test module is imported."""

import os
import signal

import paradigm.openmp  # isort: skip  # noqa: F401, before torch
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # asked for before anything imports Triton, as TRL does
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored, and so would their children
