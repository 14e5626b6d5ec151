"""The driving side of rollouts: feeds policies what the core plans, draws tokens, hands them back, and changes weights between steps.

`Sampler.collect` runs it to the end of a collection, `AsyncSampler` for as long as requests may come.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paradigm import _core
from paradigm.environments.protocol import copied
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.linear import packed_linear
from paradigm.kernels.linear_logprob import chunks, linear_logprob, row_statistics, wide
from paradigm.kernels.sample_token import sample_token
from paradigm.timeline import WAIT, is_recording, span

if TYPE_CHECKING:
    from paradigm.sampler import Sampler

__all__ = ["Engine", "RolloutDriver", "Stop", "as_list", "timed", "weights_update"]

_log = logging.getLogger(__name__)

Stop = str | bytes | Sequence[int | str | bytes]

# R sampling rows of a step, D model width, V vocabulary


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

    def num_playing(self, policy: Any) -> int:
        """How many of the samplers at work have this policy."""
        return sum(player.policy is policy for player in self._players)

    def change_weights(self, number: int, apply: Callable[[], None], version: int, *, keep: bool) -> None:
        """Lets `apply` change the weights of a policy, and its live sequences go on."""
        self._prepared[number].close()  # whatever it made of the old weights
        with torch.inference_mode(False):
            apply()
        self._prepared[number].enter_context(self._players[number]._prepared())
        self.engines[number].take_weights()
        self.core.set_version(number, version, keep)


class Engine:
    """One policy's side of a collection: feeds it what the core plans, draws tokens, hands them back."""

    def __init__(self, sampler: Sampler, max_tokens: int, num_episodes: int, seats: int):
        slots = max(1, seats, min(sampler.slots, num_episodes * seats))
        self._policy = sampler.policy
        self._cache, num_blocks = sampler._room(max_tokens, slots)
        self.limits = (slots, sampler.max_step_tokens, num_blocks, sampler.block_size)
        self._device = sampler.policy.head_weight.device
        self._exact, self._vocab_size = sampler.is_exact, sampler.vocab_size
        self._takes_rows = hasattr(sampler.policy, "decoding")
        self._swapped: dict[int, tuple[Tensor, Tensor]] = {}  # by slot, on the host
        self.evaluations: dict[int, tuple[Tensor, float | None]] = {}  # by question: logits float32 [V], value
        self.take_weights()
        self.model_s = self.core_s = 0.0

    def take_weights(self) -> None:
        """Prepares the head for the policy's weights as they are now."""
        weight: Tensor = self._policy.head_weight.detach()
        if self._exact:
            self._logits = packed_linear(weight, widen=True)
        else:
            head = wide(weight)
            self._logits = lambda hidden: nn.functional.linear(hidden.to(head.dtype), head)

    def attach(self, core: Any, number: int, version: int) -> None:
        """Takes the views of the core's buffers, which stay valid as long as the core."""
        self._core, self._number = core, number
        core.set_version(number, version)
        arrays = core.buffers(number)
        fed = ("tokens", "positions", "cu_seqlens", "context_lengths", "slots", "sample_rows", "probe_rows", "probe_targets", "probe_temperature",
               "probe_ask", "block_table")  # fmt: skip
        self._views = {name: torch.from_numpy(arrays[name]) for name in fed}
        drawn_by = ("temperature", "top_k", "top_p", "min_p", "key", "trajectory", "position", "support_row")
        self._addresses = [arrays[name].ctypes.data for name in drawn_by]
        signed = {"key": np.int64, "trajectory": np.int64, "position": np.int32}  # as `sample_token` takes the bits of unsigned numbers
        self._settings = {name: torch.from_numpy(arrays[name].view(signed.get(name, arrays[name].dtype))) for name in drawn_by}
        self._support_table = torch.empty(0, self._core.support_table().shape[1], dtype=torch.int32, device=self._device)
        num_rows = len(arrays["sample_rows"])
        self._drawn = (torch.empty(num_rows, dtype=torch.int32), torch.empty(num_rows), torch.empty(num_rows))
        self._drawn_arrays = [values.numpy() for values in self._drawn]

    def step(self) -> None:
        """Plans, runs and commits one step, if there is one for this policy now."""
        start = time.perf_counter()
        num_tokens, num_sequences, num_rows = self._plan()
        planned = time.perf_counter()
        self.core_s += planned - start
        if num_tokens == 0:
            return
        if self._cache is not None:
            self._swap(self._cache)
        num_probes = self._core.num_probes(self._number)
        rows = self._views["sample_rows"][:num_rows]
        probed = None
        with span("decode" if num_tokens == num_sequences else "prefill", "rollout"):
            if num_probes:
                rows, order = torch.cat([rows, self._views["probe_rows"][:num_probes]]).sort()
                hidden = self._forward(num_tokens, num_sequences, rows)
                hidden = torch.empty_like(hidden).index_copy_(0, order.to(self._device), hidden)
                probed = self._probe(hidden[num_rows:], num_probes)
                hidden = hidden[:num_rows]
            else:
                hidden = self._forward(num_tokens, num_sequences, rows)
        if num_rows > 0:
            with span("draw", "rollout"):
                self._draw(hidden, num_rows)
        ran = time.perf_counter()
        with span("commit", "rollout"):
            self._core.commit(self._number, *(values[:num_rows] for values in self._drawn_arrays), probed)
        self.model_s += ran - planned
        self.core_s += time.perf_counter() - ran

    def _plan(self) -> tuple[int, int, int]:
        """Tokens, sequences and drawing rows of the next step. A timeline learns how much of the time went to waiting for environments."""
        timeline = is_recording()
        if timeline is None:
            return self._core.plan(self._number)  # type: ignore[no-any-return]
        start, waited = timeline.now(), self._core.wait_s
        planned = self._core.plan(self._number)
        end, waited = timeline.now(), self._core.wait_s - waited
        timeline.add("plan", "rollout", start, end)
        if waited > 0:
            timeline.add(WAIT, "rollout", max(start, end - waited), end)
        return planned  # type: ignore[no-any-return]

    def _swap(self, cache: PagedCache) -> None:
        """Copies blocks out of the cache and back, as the plan asks."""
        for kind, slot, blocks in self._core.take_swaps(self._number):
            at = torch.tensor(blocks, device=self._device)
            if kind == "out":
                self._swapped[slot] = cache.keys[:, at].cpu(), cache.values[:, at].cpu()
            elif kind == "in":
                keys, values = (copy[:, : len(blocks)].to(self._device) for copy in self._swapped.pop(slot))
                cache.keys[:, at], cache.values[:, at] = keys, values
            elif kind == "copy":
                cache.keys[:, blocks[1]], cache.values[:, blocks[1]] = cache.keys[:, blocks[0]], cache.values[:, blocks[0]]
            elif kind == "fork":
                self._swapped[slot] = self._swapped[blocks[0]]
            else:
                del self._swapped[slot]

    def _forward(self, num_tokens: int, num_sequences: int, rows: Tensor) -> Tensor:
        """Hidden states of the rows that are wanted, int32 [R], ascending."""
        views, device = self._views, self._device
        layout = Layout.paged(
            views["cu_seqlens"][: num_sequences + 1].to(device), views["positions"][:num_tokens].to(device),
            views["context_lengths"][:num_sequences].to(device), views["slots"][:num_sequences].to(device),
            views["block_table"].to(device), self._cache,  # type: ignore[arg-type]  # a policy without a cache does not look
        )
        tokens, rows = views["tokens"][:num_tokens].to(device), rows.to(device)
        if len(rows) == num_tokens:
            return self._policy(tokens, layout)
        if self._takes_rows:
            return self._policy(tokens, layout, rows=rows)
        return self._policy(tokens, layout).index_select(0, rows)

    def _probe(self, hidden: Tensor, num_probes: int) -> NDArray[np.float32]:
        """Log-probs [Q] of the targets that were asked for; 0 where the distribution itself is, which is put by for whoever asked."""
        logprobs = torch.zeros(num_probes)
        targets, temperature = (self._views[name][:num_probes] for name in ("probe_targets", "probe_temperature"))
        is_scored = targets >= 0
        for value in temperature[is_scored].unique().tolist():
            rows = (is_scored & (temperature == value)).nonzero()[:, 0]
            states, wanted = hidden[rows.to(self._device)], targets[rows].to(self._device)
            if states.is_cpu:  # by the head that is packed already: the same bits
                parts = [row_statistics(self._logits(states[c]).float(), wanted[c], value, None)[0] for c in chunks(len(rows), self._vocab_size)]
                logprobs[rows] = torch.cat(parts)
            else:
                logprobs[rows] = linear_logprob(states, self._policy.head_weight, wanted, temperature=value)[0].cpu()
        heads = getattr(self._policy, "heads", {})
        for row in (~is_scored).nonzero()[:, 0].tolist():
            state = hidden[row : row + 1]
            value = float(heads["value"](state)[0]) if "value" in heads else None
            self.evaluations[int(self._views["probe_ask"][row])] = self._logits(state)[0].float().cpu(), value
        return logprobs.numpy()

    def _draw(self, hidden: Tensor, num_rows: int) -> None:
        scores = self._logits(hidden)
        if scores.is_cpu:
            self._draw_on_host(scores.float().contiguous(), num_rows)
        else:
            self._draw_on_device(scores.float(), num_rows)

    def _draw_on_host(self, scores: Tensor, num_rows: int) -> None:
        table = self._core.support_table()
        ids, logprobs, kept_logmass = (values.data_ptr() for values in self._drawn)
        _core.sample_token_raw(
            scores.data_ptr(), num_rows, scores.shape[1], scores.stride(0), *self._addresses, table.ctypes.data, *table.shape,
            ids, logprobs, kept_logmass, torch.get_num_threads(),
        )

    def _draw_on_device(self, scores: Tensor, num_rows: int) -> None:
        """Logits and sets of legal tokens stay where the policy is; three numbers a row come back."""
        settings = {name: values[:num_rows].to(self._device) for name, values in self._settings.items()}
        rows, table = settings.pop("support_row"), self._core.support_table()
        if len(table) > len(self._support_table):  # sets are only ever added
            added = torch.from_numpy(table[len(self._support_table) :].view(np.int32))
            self._support_table = torch.cat([self._support_table, added.to(self._device)])
        drawn = sample_token(scores, support=(rows, self._support_table) if len(table) else None, **settings)
        for values, result in zip(self._drawn, drawn):
            values[:num_rows].copy_(result)
        if int(self._drawn[0][:num_rows].min()) < 0:
            raise ValueError("logits must be below +inf and not NaN for legal tokens, one of them above -inf, got a row where they are not")


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
