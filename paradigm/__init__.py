"""One trainer for the whole arc: pretraining, imitation, reinforcement learning and distillation of token policies."""

from paradigm import cpu_backend

cpu_backend.register()
