"""paradigm: one trainer for pretraining, imitation, reinforcement learning and distillation of token policies.

    from paradigm import Policy, PolicyConfig, Layout, Learner, Sampler, Tokenizer, Trajectory, PackedBatch, kernels
"""

from importlib.metadata import PackageNotFoundError, version

import paradigm.openmp  # noqa: F401, before torch
from paradigm import cpu_backend, kernels
from paradigm.batch import PackedBatch
from paradigm.kernels.layout import Layout
from paradigm.learner import Learner
from paradigm.policy import Policy, PolicyConfig
from paradigm.sampler import Sampler
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import Trajectory, TrajectoryBuffer

cpu_backend.register()

try:
    __version__ = version("paradigm-trainer")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["Layout", "Learner", "PackedBatch", "Policy", "PolicyConfig", "Sampler", "Tokenizer", "Trajectory", "TrajectoryBuffer", "kernels"]
