"""Any environment of Gymnasium (M. Towers et al., arXiv:2407.17032) with discrete actions, or with text for actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.protocol import IntArray, Observation, Step
from paradigm.environments.space_text import Split, action_sequences, levels, number_names, observation_text, reset_seed, uniform_player
from paradigm.environments.text_codec import ByteCodec, TextCodec

__all__ = ["Gymnasium"]


class Gymnasium:
    """An environment, one seat. A task is a level, the seed of its reset; None: the sampler's seed.

    Each step says the observation in a line, and asks for an action: the name of a discrete one, all of them listed but for those that
    `info["action_mask"]` rules out, or a line of text. It must be deterministic in (seed, actions); copies made within an episode play it again.

    Args:
        make: its id, or a function that makes it.
        encode: from observations to text; None: as `observation_text` says.
        describe: the same, said once before the first observation.
        actions: names of the discrete actions; None: their numbers, of one length.
        tokenizer: encodes all text, decodes actions of text; None: UTF-8 bytes.
        max_steps: the episode is truncated after so many steps, or earlier by the environment itself.
        max_action_tokens: the longest action of text.
        render_text: whether to show what `render()` gives in place of the observation; made with `render_mode="ansi"`.
    Raises: ImportError, saying what to install; ValueError for values out of range, and for other spaces.
    """

    num_seats = 1

    def __init__(
        self,
        make: str | Callable[[], Any],
        *,
        encode: Callable[[Any], str] | None = None,
        describe: Callable[[Any], str] | None = None,
        actions: Sequence[str] | None = None,
        tokenizer: TextCodec | None = None,
        max_steps: int = 1000,
        max_action_tokens: int = 64,
        render_text: bool = False,
    ):
        try:
            import gymnasium
        except ImportError as error:
            raise ImportError("Gymnasium's environments need it: pip install 'paradigm-trainer[gymnasium]'") from error
        for argument, value in (("max_steps", max_steps), ("max_action_tokens", max_action_tokens)):
            if value < 1:
                raise ValueError(f"{argument} must be >= 1, got {value}")
        mode: dict[str, Any] = {"render_mode": "ansi"} if render_text else {}
        self._make: Callable[[], Any] = (lambda: gymnasium.make(make, **mode)) if isinstance(make, str) else make
        self._environment: Any = self._make()
        space: Any = self._environment.action_space
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._sequences: list[tuple[int, ...]] | None = None
        self._first = 0
        if type(space).__name__ == "Discrete":
            if actions is not None and len(actions) != space.n:
                raise ValueError(f"actions must name {space.n} actions, got {len(actions)}")
            self._first = int(space.start)
            self._sequences = action_sequences(list(actions or number_names(int(space.n))), self._tokenizer)
        elif type(space).__name__ != "Text":
            raise ValueError(f"the action space must be Discrete or Text, got {space}")
        elif actions is not None:
            raise ValueError("actions must be None where they are text")
        self.name = f"gymnasium/{make}" if isinstance(make, str) else f"gymnasium/{type(self._environment.unwrapped).__name__}"
        self._encode = encode or (None if render_text else observation_text(self._environment.observation_space))
        self._describe = describe
        self._max_steps, self._max_action_tokens = max_steps, max_action_tokens
        self._seed = -1
        self._mask: Any = None
        self._is_over = True
        self.actions: tuple[Any, ...] = ()  # taken in this episode

    def tasks(self, seed: int, n: int, split: Split = "train") -> list[int]:
        """n different levels of one split, see `level_split`; a longer list starts with the shorter one of the same seed."""
        return levels(seed, n, split)

    def uniform_player(self) -> Any:
        """A player of uniform legal actions, where they are listed."""
        return uniform_player

    def reset(self, task: int | None = None, seed: int = 0) -> Step:
        """Starts level `task`. Raises: ValueError unless it is None or >= 0."""
        self._seed = reset_seed(task, seed)
        self.actions, self._is_over = (), False
        observation, info = self._environment.reset(seed=self._seed)
        about = f"{self._describe(observation)}\n" if self._describe else ""
        return Step([self._ask(about, observation, info)], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Takes an action. Raises: ValueError for one that is not listed; RuntimeError before a reset or after the end."""
        if self._is_over:
            raise RuntimeError("step needs a reset before it, and none after the end")
        tokens: IntArray = np.asarray(action, np.int32)
        taken = self._decoded(tokens)
        observation, reward, terminated, truncated, info = self._environment.step(taken)
        self.actions = (*self.actions, taken)
        truncated = not terminated and (truncated or len(self.actions) >= self._max_steps)
        self._is_over = terminated or truncated
        asked = self._ask("", observation, info)
        observations = [Observation(asked.tokens) if self._is_over else asked]
        return Step(observations, (float(reward),), terminated=bool(terminated), truncated=bool(truncated))

    def clone(self) -> Gymnasium:
        """A copy in the same state."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._environment = self.replayed()
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Gymnasium:
        return self.clone()

    def replayed(self, watch: Callable[[Any, Any], None] | None = None) -> Any:
        """A Gymnasium environment brought to this state by the same actions; `watch(environment, action)` is called before each."""
        environment = self._make()
        if self._seed >= 0:
            environment.reset(seed=self._seed)
        for action in self.actions:
            if watch is not None:
                watch(environment, action)
            environment.step(action)
        return environment

    def encoded(self, action: int) -> list[int]:
        """The tokens of a discrete action. Raises: ValueError where actions are text."""
        if self._sequences is None:
            raise ValueError("action must be discrete, but actions are text here")
        return list(self._sequences[action - self._first])

    def _decoded(self, tokens: IntArray) -> Any:
        if self._sequences is None:
            text = self._tokenizer.decode(tokens.tolist())
            return text.removesuffix("\n")
        sequence = tuple(tokens.tolist())
        if sequence not in self._sequences or not self._is_allowed(self._sequences.index(sequence)):
            raise ValueError(f"action must be a legal one's tokens, got {tokens.tolist()[:20]}")
        return self._first + self._sequences.index(sequence)

    def _is_allowed(self, row: int) -> bool:
        return self._mask is None or bool(self._mask[row])

    def _ask(self, about: str, observation: Any, info: dict[str, Any]) -> Observation:
        text = self._encode(observation) if self._encode else str(self._environment.render()).rstrip("\n")
        tokens = np.asarray(self._tokenizer.encode(f"{about}{text}\n"), np.int32)
        if self._sequences is None:
            return Observation(tokens, stop=tuple(self._tokenizer.encode("\n")), max_action_tokens=self._max_action_tokens)
        self._mask = info.get("action_mask")
        legal = [sequence for row, sequence in enumerate(self._sequences) if self._is_allowed(row)]
        return Observation(tokens, legal=legal, max_action_tokens=max(map(len, self._sequences)))
