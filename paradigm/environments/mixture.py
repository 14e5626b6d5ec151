"""Several environments as one: a task says which of them it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from numpy.typing import ArrayLike

from paradigm.environments.protocol import Environment, Step, copied

__all__ = ["Mixture"]


class Mixture:
    """A task is a pair (name of an environment, a task of that one); the episode is that environment's own.

    Args:
        environments: by name, each with one seat; they are cloned, never stepped.
    Raises: ValueError if there is none, or one has several seats.
    """

    name = "mixture"
    num_seats = 1

    def __init__(self, environments: Mapping[str, Environment | Any]):
        if not environments:
            raise ValueError("environments must name at least one, got none")
        for name, environment in environments.items():
            if (seats := getattr(environment, "num_seats", 1)) != 1:
                raise ValueError(f"environments[{name!r}] must have one seat, got {seats}")
        self._environments = dict(environments)
        self._own: dict[str, Any] = {}  # this copy's, made when first needed
        self._playing: Any = None

    @property
    def threads(self) -> int | None:
        """As many as the environment that asks for the most; None if none does."""
        return max((asked for environment in self._environments.values() if (asked := getattr(environment, "threads", None))), default=None)

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """For a sampler that stops early: calls of those environments that can end soon do."""
        with ExitStack() as stack:
            for environment in self._environments.values():
                if hasattr(environment, "interrupted"):
                    stack.enter_context(environment.interrupted())
            yield

    def of_task(self, task: Any) -> Any:
        """The environment of a task. Raises: ValueError for what is no task."""
        if not isinstance(task, (tuple, list)) or len(task) != 2 or task[0] not in self._environments:
            raise ValueError(f"task must be a pair of one of {', '.join(self._environments)} and its task, got {task!r}")
        return self._environments[task[0]]

    def reset(self, task: Any, seed: int = 0) -> Step:
        """Starts a task's episode. Raises: ValueError for what is no task."""
        environment = self.of_task(task)
        if task[0] not in self._own:
            self._own[task[0]] = copied(environment)
        self._playing = self._own[task[0]]
        return self._playing.reset(task[1], seed)

    def step(self, action: ArrayLike) -> Step:
        """Takes an action in the environment that plays. Raises: RuntimeError before the first reset."""
        if self._playing is None:
            raise RuntimeError("step needs a reset before it")
        return self._playing.step(action)

    def clone(self) -> Mixture:
        """A copy in the same state."""
        other = Mixture(self._environments)
        for name, environment in self._own.items():
            if environment is self._playing:
                other._own[name] = other._playing = copied(environment)
        return other
