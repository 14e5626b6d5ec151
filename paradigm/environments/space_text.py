"""Spaces of Gymnasium as text: observations in words and numbers, discrete actions as token sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.splits import Split, split_of
from paradigm.environments.text_codec import TextCodec

__all__ = ["action_sequences", "level_split", "levels", "listed_action", "number_names", "observation_text", "reset_seed", "uniform_player"]

_MAX_NUMBERS = 256


def observation_text(space: Any) -> Callable[[Any], str]:
    """A function from observations of `space` to text.

    Discrete: the number. MultiBinary: 0 and 1 without spaces. Box and MultiDiscrete of at most 256 numbers: those, floats in 3 digits. Text: itself.
    Tuple and Dict: their parts, as `a b` and `name=a other=b`.

    Raises: ValueError for other spaces, images among them, naming `encode`.
    """
    kind = type(space).__name__
    if kind == "Discrete":
        return lambda value: str(int(value))
    if kind == "Text":
        return str
    if kind == "MultiBinary" and np.prod(space.shape) <= _MAX_NUMBERS:
        return lambda value: "".join(str(int(bit)) for bit in np.ravel(value))
    if kind in ("Box", "MultiDiscrete") and np.prod(space.shape) <= _MAX_NUMBERS:
        if np.issubdtype(space.dtype, np.floating):
            return lambda value: " ".join(f"{number:.3g}" for number in np.ravel(value).tolist())
        return lambda value: " ".join(str(int(number)) for number in np.ravel(value))
    if kind == "Tuple":
        parts = [observation_text(part) for part in space.spaces]
        return lambda value: " ".join(part(item) for part, item in zip(parts, value))
    if kind == "Dict":
        named = {name: observation_text(part) for name, part in space.spaces.items()}
        return lambda value: " ".join(f"{name}={part(value[name])}" for name, part in named.items())
    raise ValueError(f"encode must be given for observations of {space}")


def number_names(n: int) -> list[str]:
    """The numbers below n, all of one length."""
    return [f"{number:0{len(str(max(0, n - 1)))}d}" for number in range(n)]


def action_sequences(names: Sequence[str], tokenizer: TextCodec) -> list[tuple[int, ...]]:
    """Tokens of actions' names, none of which begins another; where some would, every name ends with a newline.

    Raises: ValueError for names that are empty, hold a newline or are not different.
    """
    if len(set(names)) < len(names) or not all(names) or any("\n" in name for name in names):
        raise ValueError(f"actions must have different names without newlines, got {list(names)[:20]}")
    for ending in ("", "\n"):
        sequences = [tuple(int(token) for token in tokenizer.encode(name + ending)) for name in names]
        ordered = sorted(sequences)
        if not any(second[: len(first)] == first for first, second in pairwise(ordered)):
            return sequences
    raise ValueError(f"the tokenizer must tell actions apart before they end, got {list(names)[:20]}")


def level_split(level: int) -> Split:
    """80, 5 and 15 in a hundred levels are in train, validation and test, by a hash of the number."""
    return split_of(str(level))


def levels(seed: int, n: int, split: Split) -> list[int]:
    """n different levels of one split below 2 ** 31; a longer list starts with the shorter one of the same seed."""
    draw, found = np.random.default_rng(seed), dict[int, None]()
    while len(found) < n:
        level = int(draw.integers(1 << 31))
        if level_split(level) == split:
            found[level] = None
    return list(found)


def reset_seed(task: int | None, seed: int) -> int:
    """The seed of a level, or without one the sampler's, below 2 ** 31. Raises: ValueError unless `task` is None or >= 0."""
    if task is not None and task < 0:
        raise ValueError(f"task must be None or a level >= 0, got {task}")
    return (seed if task is None else int(task)) % (1 << 31)


def listed_action(legal: Mapping[tuple[int, ...], int], action: ArrayLike) -> int:
    """The number of an action, by the tokens of those that were listed. Raises: ValueError for others."""
    tokens = np.asarray(action, np.int32).tolist()
    number = legal.get(tuple(tokens))
    if number is None:
        raise ValueError(f"action must be a legal one's tokens, got {tokens[:20]}")
    return number


def uniform_player(observation: Any, seed: int) -> list[int]:
    """A player of uniform legal actions. Raises: ValueError where none are listed."""
    if observation.legal is None:
        raise ValueError("a uniform player needs legal actions, got None")
    return list(observation.legal[int(np.random.default_rng(seed).integers(len(observation.legal)))])
