"""Where there is no GPU, Triton kernels run in Triton's interpreter: to be asked for before anything imports Triton, as TRL does."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
