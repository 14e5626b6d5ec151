"""The rollout sampler: runs a policy in many environments at once and returns what happened as trajectories.

The C++ core decides what is fed (continuous batching of decode rows and chunks of prompts over a paged cache), steps environments on
its own threads, and stores the trajectories; this file runs the model and draws the tokens. In exact mode a rollout is a pure function
of (weights, task, sampling parameters, key, environment): slots, threads, the cache's size and the order in which environments answer
change nothing. Sequences that begin with the same prompt share its whole blocks of the cache, one of them computing them; when the cache
is full, the youngest sequences lose their blocks and are fed again later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paradigm import _core
from paradigm.environments.protocol import Environment, Observation
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.linear import packed_linear
from paradigm.kernels.linear_logprob import wide
from paradigm.kernels.sample_token import sample_token
from paradigm.shared_prompts import rollout_flops
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["CollectionStats", "Player", "Sampler"]

_log = logging.getLogger(__name__)

# R sampling rows of a step, D model width, V vocabulary

Player = Callable[[Observation, int], Sequence[int]]

_UNLIMITED = 1 << 30  # tokens; a stream that no policy has to cache
_DEFAULT_MAX_TOKENS = 4096  # for a policy that does not say what it was made for
_DEFAULT_CACHE_GIB = 4.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectionStats:
    """What a call of `collect` did and what its time went to; token counts and FLOPs are the sampler's own, without opponents'.

    Attributes:
        num_episodes, num_failed: episodes played, and those among them that failed.
        steps: forward passes.
        tokens_prefilled, tokens_sampled: prompt and observation tokens fed in chunks, and what is fed again after an eviction; tokens drawn.
        prefixes_shared, tokens_shared: sequences that took over the beginning of their prompt from another; tokens not prefilled for that.
        evictions, tokens_recomputed: sequences that lost their blocks of the cache to older ones; tokens fed again for that.
        model_s, core_s, wait_s, total_s: seconds in the policies with the drawing of tokens; in the core's planning; waiting for
            environments while no policy could run; in all.
        flops: useful floating-point operations (`policy.flops`; 0 if the policy does not tell), a function of the trajectories alone: what
            precedes the last action of each that did not fail is fed once, a group's common prompt once for all of it, and every action's
            logits are computed.
    """

    num_episodes: int
    num_failed: int
    steps: int
    tokens_prefilled: int
    tokens_sampled: int
    prefixes_shared: int
    tokens_shared: int
    evictions: int
    tokens_recomputed: int
    model_s: float
    core_s: float
    wait_s: float
    total_s: float
    flops: int


class Sampler:
    """Collects trajectories with a policy.

    Args:
        policy: a module with forward(tokens, layout) -> hidden [T, D] and head_weight [V, D]; `new_cache(num_blocks, block_size)` unless
            it needs no cache; `decoding()`, a context to decode in, if forward also takes `rows` (see Policy). None: every seat is
            played by opponents.
        slots: greatest number of sequences at work at once. An episode keeps one for each seat that the policy plays until it is over, so
            fewer slots than that count as that many: with 1 slot, the games of self-play are played one after another.
        exact: whether a rollout's bits are to be independent of what else is in a step; during a collection it also holds for the
            policy, if that has such a switch (`policy.exact`). None: as the policy has it, else on the CPU only.
        max_step_tokens: greatest number of tokens fed in one step; longer prompts are fed in chunks.
        block_size: tokens in a block of the cache, a multiple of 16.
        cache_tokens: tokens that the cache holds, which is of this size from the first collection on; at least a trajectory of the
            greatest length. Sequences take blocks of it as they grow. None: as many tokens as `slots` sequences can come to need, up to
            4 GiB, with which nothing is ever evicted if that is enough.
        vocab_size: V; needed only without a policy.
    Raises: ValueError naming the argument that is out of range.

    `version` tags the tokens drawn from now on; `stats` tells about the last collection.
    """

    def __init__(
        self, policy: Any, slots: int = 256, exact: bool | None = None, *, max_step_tokens: int = 2048, block_size: int = 16,
        cache_tokens: int | None = None, vocab_size: int | None = None,
    ):  # fmt: skip
        for name, value in (("slots", slots), ("max_step_tokens", max_step_tokens)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        if block_size < 16 or block_size % 16:
            raise ValueError(f"block_size must be a multiple of 16, got {block_size}")
        if cache_tokens is not None and cache_tokens < 1:
            raise ValueError(f"cache_tokens must be >= 1, got {cache_tokens}")
        if policy is None and vocab_size is None:
            raise ValueError("vocab_size must be given if policy is None")
        if policy is not None and vocab_size not in (None, policy.head_weight.shape[0]):
            raise ValueError(f"vocab_size must be the policy's {policy.head_weight.shape[0]}, got {vocab_size}")
        self.policy, self.slots, self.max_step_tokens, self.block_size = policy, slots, max_step_tokens, block_size
        self.vocab_size: int = policy.head_weight.shape[0] if policy is not None else int(vocab_size or 0)
        self.exact: bool | None = exact
        self.version = 0
        self.stats: CollectionStats | None = None
        self._cache_tokens = cache_tokens
        self._cache: PagedCache | None = None

    def collect(
        self, environment: Environment | Any, tasks: Sequence[Any], group_size: int = 8, temperature: float = 1.0, *, top_k: int = 0,
        top_p: float = 1.0, min_p: float = 0.0, key: tuple[int, ...] = (0, 0), opponents: Mapping[int, Sampler | Player | Any] | None = None,
        forced: Mapping[int, Sequence[tuple[int, Sequence[int]]]] | None = None, max_tokens: int | None = None,
        record_players: bool = False, progress: Callable[[int, int], None] | None = None, threads: int | None = None,
    ) -> TrajectoryBuffer:  # fmt: skip
        """Plays `group_size` episodes of each task, and returns the trajectories sorted by index.

        Episode e plays task e // group_size; its seat s sees trajectory e * num_seats + s. Episodes of one task share the
        environment's seed, which derives from (key, task number).

        Args:
            environment: a native one, or a Python object with reset and step (see paradigm.environments) of which every episode at work
                gets a copy, by its `clone()` or else `copy.deepcopy`. It is not stepped itself.
            tasks: what `environment.reset` gets; str or bytes for native ones.
            temperature, top_k, top_p, min_p: of the draws; temperature 0 is greedy, with log-probs at temperature 1; 0, 1 and 0 turn the
                filters off.
            key: (seed, step) or (seed, step, attempt) of the sampling noise.
            opponents: who plays a seat instead of this sampler's policy: another Sampler, a `_core.NativePlayer`, or a callable
                (observation, seed) -> token ids.
            forced: by trajectory index, pairs (n, token ids): after n generated tokens (drawn or forced, counted over the trajectory) these
                are imposed. They are part of the action, but stored as observations.
            max_tokens: greatest length of a trajectory, whose episode then ends with stop_reason "length". None: what the policy was made
                for (`policy.config.max_position_embeddings`), 4096 if it does not say.
            record_players: also return the trajectories of the seats that opponents play.
            progress: called with (episodes done, episodes) as they end.
            threads: threads that step environments; None: one for each core, 8 at most.
        Returns: the trajectories; `extras` of one of a failed episode holds {"failure": message}. A seat that acted gets its rewards on
            the last token of the decision that they follow; one that never did, on the last token it saw.
        Raises: ValueError naming the argument that is out of range. Whatever environments and players raise or return wrongly fails
            only their own episode.
        """
        started = time.perf_counter()
        native = getattr(environment, "native", environment)
        num_seats = int(getattr(native, "num_seats", 1))
        if isinstance(environment, type) or not (_is_native(native) or (hasattr(environment, "reset") and hasattr(environment, "step"))):
            raise ValueError(f"environment must be native or have the methods reset and step, got {environment!r}")
        players, seats = self._seat(num_seats, dict(opponents or {}))
        if max_tokens is None:
            max_tokens = min((_default_max_tokens(player.policy) for player in players), default=_UNLIMITED)
        num_episodes = len(tasks) * group_size
        engines = [_Engine(player, max_tokens, num_episodes, seats.count(number)) for number, player in enumerate(players)]
        if not 2 <= len(key) <= 3:
            raise ValueError(f"key must be (seed, step) or (seed, step, attempt), got {key!r}")
        core = _core.Scheduler(
            environment=native if _is_native(native) else environment, tasks=list(tasks), seats=seats, policies=[e.limits for e in engines],
            group_size=group_size, key=_core.noise_key(*(int(part) & (1 << 64) - 1 for part in key)), vocab_size=self.vocab_size,
            max_tokens=max_tokens, sampling=(temperature, top_k, top_p, min_p),
            forced={int(k): [(int(n), list(ids)) for n, ids in v] for k, v in (forced or {}).items()},
            threads=threads if threads is not None else min(8, os.cpu_count() or 1),
            record_all=record_players, observation_type=Observation,
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(_closing(core))
            for player in players:
                stack.enter_context(player._prepared())
            for number, (engine, player) in enumerate(zip(engines, players)):
                engine.attach(core, number, player.version)
            reported = -1
            while not core.is_done:
                for engine in engines:
                    engine.step()
                if not engines:
                    core.wait()
                if progress is not None and core.num_done != reported:
                    reported = core.num_done
                    progress(reported, num_episodes)
            arrays, failures = core.take()
        if core.num_failed:
            _log.warning("%d of %d episodes failed; one of them: %s", core.num_failed, num_episodes, next(iter(failures.values()), "not recorded"))
        name = getattr(environment, "name", type(environment).__name__)
        extras = {row: {"failure": message} for row, message in failures.items()}
        total_s = time.perf_counter() - started
        rollouts = TrajectoryBuffer(arrays, tasks=tasks, key=key, environment=str(name), extras=extras)
        own = [seat for seat, player in enumerate(seats) if player == 0]  # without a policy another sampler's, and nothing is counted
        self.stats = self._stats(core, engines, num_episodes, total_s, rollout_flops(self.policy, rollouts, own))
        return rollouts

    def _seat(self, num_seats: int, opponents: dict[int, Any]) -> tuple[list[Sampler], list[Any]]:
        """The samplers at work, this one first, and who plays each seat: the number of one of them, or a player."""
        outside = [seat for seat in opponents if not 0 <= seat < num_seats]
        if outside:
            raise ValueError(f"opponents must be for seats 0..{num_seats - 1}, got {outside}")
        players: list[Sampler] = [] if self.policy is None else [self]
        seats: list[Any] = []
        for seat in range(num_seats):
            opponent = opponents.get(seat, self)
            if not isinstance(opponent, Sampler):
                seats.append(getattr(opponent, "native", opponent))
                continue
            if opponent.policy is None:
                raise ValueError(f"opponents must play seat {seat}, for which there is no policy")
            if opponent.vocab_size != self.vocab_size:
                raise ValueError(f"opponents[{seat}] must share the vocabulary of {self.vocab_size}, got {opponent.vocab_size}")
            if opponent not in players:
                players.append(opponent)
            seats.append(players.index(opponent))
        return players, seats

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[None]:
        """The policy as a collection needs it: exact or not, and with whatever it prepares for decoding."""
        before = getattr(self.policy, "exact", None)
        switched = self.exact is not None and before is not None and before != self.exact
        if switched:
            self.policy.exact = self.exact
        decoding = getattr(self.policy, "decoding", contextlib.nullcontext)
        try:
            with decoding():
                yield
        finally:
            if switched:
                self.policy.exact = before

    def _stats(self, core: Any, engines: list[_Engine], num_episodes: int, total_s: float, flops: int) -> CollectionStats:
        own = core.counters(0) if engines else {}
        return CollectionStats(
            num_episodes=num_episodes, num_failed=core.num_failed, steps=own.get("steps", 0), tokens_prefilled=own.get("tokens_prefilled", 0),
            tokens_sampled=own.get("tokens_sampled", 0), prefixes_shared=own.get("prefixes_shared", 0), tokens_shared=own.get("tokens_shared", 0),
            evictions=own.get("evictions", 0), tokens_recomputed=own.get("tokens_recomputed", 0), model_s=sum(e.model_s for e in engines),
            core_s=max(0.0, sum(e.core_s for e in engines) - core.wait_s), wait_s=core.wait_s, total_s=total_s,
            flops=flops,
        )

    def _room(self, max_tokens: int, slots: int) -> tuple[PagedCache | None, int]:
        """The cache, kept from one collection to the next, and how many of its blocks a collection may use."""
        new_cache = getattr(self.policy, "new_cache", None)
        if new_cache is None:
            return None, 0
        blocks_each = math.ceil(max_tokens / self.block_size)
        if self._cache_tokens is not None:
            num_blocks = 1 + math.ceil(self._cache_tokens / self.block_size)
            if num_blocks <= blocks_each:
                raise ValueError(
                    f"cache_tokens must hold a trajectory of max_tokens={max_tokens}, which takes {blocks_each * self.block_size} in blocks of "
                    f"{self.block_size}, got {self._cache_tokens}: it can never fit"
                )
        else:
            probe = new_cache(1, self.block_size)
            affordable = int(_DEFAULT_CACHE_GIB * 2**30) // (probe.keys.nbytes + probe.values.nbytes)
            num_blocks = 1 + blocks_each * max(1, min(slots, affordable // blocks_each))
        if self._cache is None or self._cache.num_blocks < num_blocks:
            self._cache = None  # before its successor is made
            self._cache = new_cache(num_blocks, self.block_size)
        return self._cache, num_blocks


class _Engine:
    """One policy's side of a collection: feeds it what the core plans, draws tokens, hands them back."""

    def __init__(self, sampler: Sampler, max_tokens: int, num_episodes: int, seats: int):
        slots = max(1, seats, min(sampler.slots, num_episodes * seats))
        self._policy = sampler.policy
        self._cache, num_blocks = sampler._room(max_tokens, slots)
        self.limits = (slots, sampler.max_step_tokens, num_blocks, sampler.block_size)
        weight: Tensor = sampler.policy.head_weight.detach()
        self._device = weight.device
        self._exact = getattr(sampler.policy, "exact", self._device.type == "cpu") if sampler.exact is None else sampler.exact
        if self._exact:
            self._logits = packed_linear(weight, widen=True)
        else:
            head = wide(weight)
            self._logits = lambda hidden: torch.nn.functional.linear(hidden.to(head.dtype), head)
        self._takes_rows = hasattr(sampler.policy, "decoding")
        self.model_s = self.core_s = 0.0

    def attach(self, core: Any, number: int, version: int) -> None:
        """Takes the views of the core's buffers, which stay valid as long as the core."""
        self._core, self._number = core, number
        core.set_version(number, version)
        arrays = core.buffers(number)
        fed = ("tokens", "positions", "cu_seqlens", "context_lengths", "slots", "sample_rows", "block_table")
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
        num_tokens, num_sequences, num_rows = self._core.plan(self._number)
        planned = time.perf_counter()
        self.core_s += planned - start
        if num_tokens == 0:
            return
        hidden = self._forward(num_tokens, num_sequences, num_rows)
        if num_rows > 0:
            self._draw(hidden, num_rows)
        ran = time.perf_counter()
        self._core.commit(self._number, *(values[:num_rows] for values in self._drawn_arrays))
        self.model_s += ran - planned
        self.core_s += time.perf_counter() - ran

    def _forward(self, num_tokens: int, num_sequences: int, num_rows: int) -> Tensor:
        """Hidden states of the rows that tokens are drawn from."""
        views, device = self._views, self._device
        layout = Layout.paged(
            views["cu_seqlens"][: num_sequences + 1].to(device), views["positions"][:num_tokens].to(device),
            views["context_lengths"][:num_sequences].to(device), views["slots"][:num_sequences].to(device),
            views["block_table"].to(device), self._cache,  # type: ignore[arg-type]  # a policy without a cache does not look
        )
        tokens, rows = views["tokens"][:num_tokens].to(device), views["sample_rows"][:num_rows].to(device)
        if num_rows == num_tokens:
            return self._policy(tokens, layout)
        if self._takes_rows:
            return self._policy(tokens, layout, rows=rows)
        return self._policy(tokens, layout).index_select(0, rows)

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


@contextlib.contextmanager
def _closing(core: Any) -> Iterator[None]:
    try:
        yield
    finally:
        if not core.close():
            _log.warning("an environment or a player is still at work; its thread ends when that call returns")


def _is_native(environment: Any) -> bool:
    """Whether the core steps this environment without Python."""
    return isinstance(environment, _core.NativeEnvironment)


def _default_max_tokens(policy: Any) -> int:
    made_for = getattr(getattr(policy, "config", None), "max_position_embeddings", None)
    if made_for is not None:
        return int(made_for)
    return _DEFAULT_MAX_TOKENS if hasattr(policy, "new_cache") else _UNLIMITED
