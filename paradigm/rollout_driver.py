"""The driving side of rollouts: steps the policies of a collection by turns, and changes weights between steps.

`Sampler.collect` runs it to the end of a collection, `AsyncSampler` for as long as requests may come.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from paradigm.engine import Engine
from paradigm.environments.protocol import copied
from paradigm.timeline import is_recording, span

if TYPE_CHECKING:
    from paradigm.sampler import Sampler

__all__ = ["RolloutDriver", "Stop", "as_list", "timed", "weights_update"]

_log = logging.getLogger(__name__)

Stop = str | bytes | Sequence[int | str | bytes]


class RolloutDriver:
    """A core and the policies that it plans for: runs their steps by turns, and changes weights between steps. Within its context, one thread."""

    def __init__(self, core: Any, engines: list[Engine], players: list[Sampler], environment: Any, max_tokens: int, own_seats: list[int]):
        self.core, self.engines, self.max_tokens, self.own_seats = core, engines, max_tokens, own_seats
        self._environment = environment
        self._players = players
        self._prepared: list[contextlib.ExitStack] = []  # by policy: what it needs while it decodes

    def __enter__(self) -> RolloutDriver:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(_closing(self.core, self._environment))
            for number, player in enumerate(self._players):
                if player._at_work is not None:
                    raise RuntimeError("a sampler does one thing at a time: this one is at work in another collection")
                stack.callback(setattr, player, "_at_work", None)
                player._at_work = self, number
                self._prepared.append(stack.enter_context(contextlib.ExitStack()))
                self._prepared[number].enter_context(player._prepared())
            for number, (engine, player) in enumerate(zip(self.engines, self._players)):
                engine.attach(self.core, number, player.version)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._stack.__exit__(*raised)

    def step(self) -> None:
        """One step of each policy that has something to do; waits a little if none has, but somebody else is at work."""
        for engine in self.engines:
            engine.step()
        if not self.engines:
            self.core.wait()

    def drain(self) -> None:
        """Commits the steps that are out."""
        for engine in self.engines:
            engine.drain()

    def num_playing(self, policy: Any) -> int:
        """How many of the samplers at work have this policy."""
        return sum(player.policy is policy for player in self._players)

    def change_weights(self, number: int, apply: Callable[[], None], version: int, *, keep: bool) -> None:
        """Lets `apply` change the weights of a policy, and its live sequences go on."""
        self.engines[number].drain()
        self._prepared[number].close()  # whatever it made of the old weights
        with torch.inference_mode(False):
            apply()
        self._prepared[number].enter_context(self._players[number]._prepared())
        self.engines[number].take_weights()
        self.core.set_version(number, version, keep)


def weights_update(policy: Any, weights: nn.Module | Mapping[str, Tensor] | Callable[[], Any]) -> Callable[[], Any]:
    """What changes the policy's weights, once that is known to be possible."""
    if weights is policy:
        return lambda: None
    if not isinstance(weights, (nn.Module, Mapping)):
        if not callable(weights):
            raise ValueError(f"weights must be a module, tensors by name or a function, got {type(weights).__name__}")
        return weights
    given = weights.state_dict() if isinstance(weights, nn.Module) else weights
    own: dict[str, Tensor] = policy.state_dict()  # shares the policy's memory
    if given.keys() != own.keys():
        raise ValueError(f"weights must have the policy's tensors, got missing or unexpected ones: {sorted(given.keys() ^ own.keys())[:4]}")
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            raise ValueError(f"weights[{name!r}] must have shape {list(own[name].shape)}, got {list(tensor.shape)}")

    @torch.no_grad()
    def copy() -> None:
        for name, tensor in given.items():
            own[name].copy_(tensor)

    return copy


def as_list(stop: Stop) -> list[Any]:
    """A stop as the core takes it."""
    return [stop] if isinstance(stop, (str, bytes)) else list(stop)


def timed(environment: Any) -> Any:
    """A Python environment whose resets and steps are spans, if a timeline is recording now; else itself."""
    return environment if is_recording() is None else _Timed(environment)


class _Timed:
    """Everything but `reset`, `step` and copying is the environment's own."""

    def __init__(self, environment: Any):
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_environment":  # looked for while a copy is made
            raise AttributeError(name)
        return getattr(self._environment, name)

    def reset(self, *arguments: Any) -> Any:
        with span("reset", "environments"):
            return self._environment.reset(*arguments)

    def step(self, *arguments: Any) -> Any:
        with span("step", "environments"):
            return self._environment.step(*arguments)

    def clone(self) -> _Timed:
        return _Timed(copied(self._environment))


@contextlib.contextmanager
def _closing(core: Any, environment: Any) -> Iterator[None]:
    stopping: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    try:
        yield
    except BaseException:
        stopping = getattr(environment, "interrupted", contextlib.nullcontext)()
        raise
    finally:
        with stopping:
            is_closed = core.close()
        if not is_closed:
            _log.warning("an environment or a player is still at work; its thread ends when that call returns")
