"""A tiny module, a tiny policy and documents that the learner's tests share."""

import numpy as np
import torch
from torch import nn

from paradigm.batch import PackedBatch
from paradigm.objective import CrossEntropy
from paradigm.policy import Policy, PolicyConfig
from paradigm.trajectory import TrajectoryBuffer

VOCABULARY = 16


class Bigram(nn.Module):
    """A token sees itself and the one before it in its document; tied embeddings, a norm, a bias, a value head."""

    def __init__(self, dtype=torch.float32, width=8):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.mix = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({"value": nn.Linear(width, 1)})
        self.register_buffer("scale", torch.tensor(2.0))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)
        self.to(dtype)

    @property
    def head_weight(self):
        return self.embedding.weight

    def forward(self, tokens, layout):
        x = self.embedding(tokens)
        before = torch.where((layout.positions > 0)[:, None], x.roll(1, 0), 0.0)
        return self.norm(torch.tanh(self.mix(torch.cat([x, before], 1)))) * self.scale


def small_policy(dtype="float32", heads=("value",), **shape):
    config = PolicyConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_layers=2, num_heads=2, num_kv_heads=1, heads=heads, dtype=dtype, **shape
    )
    return Policy(config, seed=3)


def documents(n=8, seed=0, length=9):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, length, n)
    total = int(lengths.sum())
    return TrajectoryBuffer.from_arrays(
        generator.integers(0, VOCABULARY, total), np.concatenate([[0], np.cumsum(lengths)]), action_mask=generator.random(total) < 0.7,
        logprobs=np.full(total, -2.5, np.float32) + generator.normal(size=total) * 0.3,
    )  # fmt: skip


def batches(buffer=None, max_tokens=1000, **streams):
    return PackedBatch.pack(documents() if buffer is None else buffer, max_tokens, rows="all", **streams)


def train(learner, steps, first=0):
    for step in range(first, first + steps):
        for batch in batches(documents(seed=step), max_tokens=20):
            learner.forward_backward(batch, CrossEntropy())
        learner.step()


def flat(state, path=""):
    if isinstance(state, dict):
        return {k: v for name, item in state.items() for k, v in flat(item, f"{path}/{name}").items()}
    if isinstance(state, list | tuple):
        return {k: v for i, item in enumerate(state) for k, v in flat(item, f"{path}/{i}").items()}
    return {path: state}


def assert_same_state(left, right):
    left, right = flat(left), flat(right)
    assert left.keys() == right.keys()
    for name, value in left.items():
        same = torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name]
        assert same, name


def copy_of(state):
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in flat(state).items()}
