"""The rollout sampler: runs a policy in many environments at once and returns what happened as trajectories.

The C++ core decides what is fed (continuous batching of decode rows and chunks of prompts over a paged cache), steps environments on
its own threads, and stores the trajectories; this file runs the model and draws the tokens. In exact mode a rollout is a pure function
of (weights, task, sampling parameters, key, environment): slots, threads, the cache's size and the order in which environments answer
change nothing. Sequences that begin with the same prompt share its whole blocks of the cache, one of them computing them; when the cache
is full, the youngest sequences lose their blocks and are fed again later. Weights may change between two steps (`update_weights`): each
token carries the version that it was drawn from. See `paradigm.async_sampler` for requests that come and go.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from paradigm import _core
from paradigm.collection_stats import CollectionStats
from paradigm.device_step import CudaDevice, Device, DeviceStep
from paradigm.engine import Engine
from paradigm.environments.protocol import Environment, Observation
from paradigm.grammar import Grammar, GuidanceGrammar, TokenGrammar, guidance_tokens
from paradigm.kernels.cpu_slots import runs_triton
from paradigm.kernels.flags import is_debugging
from paradigm.kernels.layout import PagedCache
from paradigm.policy import Policy
from paradigm.policy_step import PolicyStep
from paradigm.rollout_driver import RolloutDriver, Stop, as_list, timed, weights_update
from paradigm.sequences import Nowhere, Sequences
from paradigm.shared_prompts import rollout_flops
from paradigm.trajectory import TrajectoryBuffer

__all__ = ["CollectionStats", "Player", "Sampler"]

_log = logging.getLogger(__name__)

# V vocabulary

Player = Callable[[Observation, int], Sequence[int]]  # or an object with `act`, see `Sampler.collect`
OnUpdate = Literal["recompute", "keep"]

_UNLIMITED = 1 << 30  # tokens; a stream that no policy has to cache
_DEFAULT_MAX_TOKENS = 4096  # for a policy that does not say what it was made for
_DEFAULT_CACHE_GIB = 4.0


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
        overlap: whether the next step is planned and launched before the results of the one before have come, which changes no bit in exact
            mode (docs/kv_cache.md). None: where the policy is on a CUDA device; on the CPU it gains nothing.
        tokenizer: says by `token_bytes()` what tokens say (see Tokenizer); needed only for stop strings and grammars.
    Raises: ValueError naming the argument that is out of range.

    `version` tags the tokens drawn from now on; `stats` tells about the last collection.
    """

    def __init__(
        self, policy: Any, slots: int = 256, exact: bool | None = None, *, max_step_tokens: int = 2048, block_size: int = 16,
        cache_tokens: int | None = None, vocab_size: int | None = None, tokenizer: Any = None, overlap: bool | None = None,
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
        self.overlap: bool | None = overlap
        self.version = 0
        self.stats: CollectionStats | None = None
        self._cache_tokens = cache_tokens
        self._cache: PagedCache | None = None
        self._token_bytes = None if tokenizer is None else _core.TokenBytes(tokenizer.token_bytes())
        self._tokenizer, self._guidance = tokenizer, None
        self._grammars: dict[Grammar, TokenGrammar] = {}
        self._device: Device | None = CudaDevice(policy.head_weight.device) if policy is not None and runs_triton(policy.head_weight) else None
        self._graphs: tuple[tuple[Any, ...], DeviceStep] | None = None  # of which cache and sizes; kept from one collection to the next
        self._at_work: tuple[RolloutDriver, int] | None = None  # and the number of this sampler's policy there

    def collect(
        self, environment: Environment | Any, tasks: Sequence[Any], group_size: int = 8, temperature: float = 1.0, *, top_k: int = 0,
        top_p: float = 1.0, min_p: float = 0.0, key: tuple[int, ...] = (0, 0), opponents: Mapping[int, Sampler | Player | Any] | None = None,
        forced: Mapping[int, Sequence[tuple[int, Sequence[int]]]] | None = None, max_tokens: int | None = None,
        record_players: bool = False, progress: Callable[[int, int], None] | None = None, threads: int | None = None, stop: Stop = (),
        between_steps: Callable[[], None] | None = None, episodes: tuple[int, int] | None = None,
        grammar: Grammar | TokenGrammar | None = None,
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
                (observation, seed) -> token ids, or an object with a method act(environment, observation, seed) -> token ids, which
                sees the episode's environment, written in Python, and leaves it as it is.
            forced: by trajectory index, pairs (n, token ids): after n generated tokens (drawn or forced, counted over the trajectory) these
                are imposed. They are part of the action, but stored as observations.
            max_tokens: greatest length of a trajectory, whose episode then ends with stop_reason "length". None: what the policy was made
                for (`policy.config.max_position_embeddings`), 4096 if it does not say.
            record_players: also return the trajectories of the seats that opponents play.
            progress: called with (episodes done, episodes) as they end.
            threads: threads that step environments, which bounds the calls out at once; None: as many as the environment asks for
                (`environment.threads`), else one for each core, 8 at most.
            stop: token ids and texts (str, bytes; they need the sampler's tokenizer), any of which ends a trajectory: with the first such token, or
                the one that completes a text, however tokens cut it. The environment gets the action, and its rewards count; what it says does
                not follow. stop_reason is then "stop", unless the episode was over anyway. Opponents' actions do not stop.
            between_steps: called before each step, in this thread; it may call `update_weights`.
            episodes: the first to play, and the one to stop before; None plays all. They are those of the whole collection, numbers, seeds and
                noise included, so that several collections may share its work.
            grammar: what each action of a policy says, where the environment lists no legal ones; see `paradigm.grammar`. Written over text
                (Grammar), it needs the sampler's tokenizer.
        Returns: the trajectories; `extras` of one of a failed episode holds {"failure": message, "failure_reason": one of
            `CollectionStats.failure_reasons`}. A seat that acted gets its rewards on the last token of the decision that they follow; one
            that never did, on the last token it saw.
        Raises: ValueError naming the argument that is out of range; RuntimeError if one of the samplers is at work already. Whatever
            environments and players raise or return wrongly fails only their own episode.
        """
        started = time.perf_counter()
        first, end = episodes if episodes is not None else (0, len(tasks) * group_size)
        num_episodes = end - first
        driver = self._driver(
            environment, tasks, num_episodes, group_size=group_size, sampling=(temperature, top_k, top_p, min_p), key=key, opponents=opponents,
            forced=forced, max_tokens=max_tokens, record_players=record_players, threads=threads, stop=stop, episodes=(first, end),
            grammar=grammar,
        )  # fmt: skip
        core = driver.core
        with driver:
            reported = -1
            while not core.is_done:
                if between_steps is not None:
                    between_steps()
                driver.step()
                if progress is not None and core.num_done != reported:
                    reported = core.num_done
                    progress(reported, num_episodes)
            driver.drain()
            arrays, failures = core.take()
        if core.num_failed:
            told = next((message for _, message in failures.values()), "not recorded")
            _log.warning("%d of %d episodes failed, %s; one of them: %s", core.num_failed, num_episodes, core.failure_reasons, told)
        total_s = time.perf_counter() - started
        extras = {row: {"failure": message, "failure_reason": reason} for row, (reason, message) in failures.items()}
        rollouts = TrajectoryBuffer(arrays, tasks=tasks, key=key, environment=name_of(environment), extras=extras)
        self.stats = self._stats(core, driver.engines, num_episodes, total_s, rollout_flops(self.policy, rollouts, driver.own_seats))
        return rollouts

    @contextlib.contextmanager
    def sequences(self, *, max_tokens: int | None = None, key: tuple[int, ...] = (0, 0)) -> Iterator[Sequences]:
        """Sequences of the policy's to fork, append to, sample from, score and evaluate: see `paradigm.sequences`.

        Args: max_tokens, key: as in `collect`. Raises: ValueError if one is out of range; RuntimeError if the sampler is at work.
        """
        if self.policy is None:
            raise ValueError("sequences need a policy, got None")
        driver = self._driver(
            Nowhere(), [], self.slots, group_size=1, sampling=(1.0, 0, 1.0, 0.0), key=key, opponents=None, forced=None, max_tokens=max_tokens,
            record_players=False, threads=1, stop=(),
        )  # fmt: skip
        with driver, Sequences(driver, self, self.slots) as sequences:
            yield sequences

    def _bind_grammar(self, grammar: Any) -> TokenGrammar | None:
        """A grammar over the policy's token ids."""
        if not isinstance(grammar, Grammar):
            if grammar is not None and not isinstance(grammar, TokenGrammar):
                raise ValueError(f"grammar must be a Grammar or have a method begin, got {type(grammar).__name__}")
            return grammar
        if self._tokenizer is None:
            raise ValueError("grammar needs a tokenizer: Sampler(policy, tokenizer=...)")
        if grammar not in self._grammars:
            if self._guidance is None:
                self._guidance = guidance_tokens(self._tokenizer, self.vocab_size)
            self._grammars[grammar] = GuidanceGrammar(grammar, self._guidance)
        return self._grammars[grammar]

    @property
    def is_exact(self) -> bool:
        """Whether it samples in exact mode: as it was told, else as the policy has it, else on the CPU."""
        if self.exact is not None:
            return self.exact
        return bool(getattr(self.policy, "exact", self.policy.head_weight.device.type == "cpu"))

    def update_weights(
        self, weights: nn.Module | Mapping[str, Tensor] | Callable[[], Any], version: int | None = None, on_update: OnUpdate = "recompute"
    ) -> int:
        """Changes the policy's weights in place. A collection that is at work goes on under them: its tokens so far stay as they were drawn.

        Call it while no step is running: between collections, or in `between_steps`. See `AsyncSampler.update_weights` for one that waits.

        Args:
            weights: a module or a mapping with all of the policy's tensors by name, which are copied, whatever their dtype; or a function that
                changes the policy's own tensors, such as `learner.step`. The policy itself: they have been changed already.
            version: tags the tokens drawn from now on; greater than before. None: by one.
            on_update: what becomes of the keys and values of unfinished trajectories. "recompute": all are computed again, so that in exact
                mode what is drawn from now on has, bit for bit, the log-probs that the new weights give it. "keep": they stay, which costs
                nothing; tokens are then drawn from new weights behind a context that older ones read.
        Returns: the version. Raises: ValueError, with nothing changed, if a tensor is missing, unexpected or of another shape, or another
            argument is out of range.
        """
        return self._weights_update(weights, version, on_update)()

    def _weights_update(
        self, weights: nn.Module | Mapping[str, Tensor] | Callable[[], Any], version: int | None, on_update: OnUpdate
    ) -> Callable[[], int]:
        """What does it, once everything that `update_weights` refuses has been looked for."""
        number = self.version + 1 if version is None else version
        if number <= self.version:
            raise ValueError(f"version must be greater than {self.version}, got {version}")
        if on_update not in ("recompute", "keep"):
            raise ValueError(f"on_update must be 'recompute' or 'keep', got {on_update!r}")
        if self._at_work is not None and self._at_work[0].num_playing(self.policy) > 1:
            raise ValueError("weights must not change while two samplers at work have the same policy: copy it for one of them")
        apply = weights_update(self.policy, weights)

        def update() -> int:
            if self._at_work is None:
                apply()
            else:
                driver, policy = self._at_work
                driver.change_weights(policy, apply, number, keep=on_update == "keep")
            self.version = number
            return number

        return update

    def _driver(
        self, environment: Any, tasks: Sequence[Any], num_episodes: int, *, group_size: int, sampling: tuple[float, int, float, float],
        key: tuple[int, ...], opponents: Mapping[int, Any] | None, forced: Mapping[int, Any] | None, max_tokens: int | None, record_players: bool,
        threads: int | None, stop: Stop, episodes: tuple[int, int] | None = None, grammar: Grammar | TokenGrammar | None = None,
    ) -> RolloutDriver:  # fmt: skip
        """What plays the tasks, or without any, at most `num_episodes` at a time that are submitted one by one; see `collect`."""
        native = getattr(environment, "native", environment)
        num_seats = int(getattr(native, "num_seats", 1))
        if isinstance(environment, type) or not (_is_native(native) or (hasattr(environment, "reset") and hasattr(environment, "step"))):
            raise ValueError(f"environment must be native or have the methods reset and step, got {environment!r}")
        players, seats = self._seat(num_seats, dict(opponents or {}))
        if max_tokens is None:
            max_tokens = min((_default_max_tokens(player.policy) for player in players), default=_UNLIMITED)
        engines = [Engine(player, max_tokens, num_episodes, seats.count(number)) for number, player in enumerate(players)]
        if not 2 <= len(key) <= 3:
            raise ValueError(f"key must be (seed, step) or (seed, step, attempt), got {key!r}")
        core = _core.Scheduler(
            environment=native if _is_native(native) else timed(environment), tasks=list(tasks), seats=seats, policies=[e.limits for e in engines],
            group_size=group_size, key=_core.noise_key(*(int(part) & (1 << 64) - 1 for part in key)), vocab_size=self.vocab_size,
            max_tokens=max_tokens, sampling=sampling,
            forced={int(k): [(int(n), list(ids)) for n, ids in v] for k, v in (forced or {}).items()},
            threads=threads if threads is not None else getattr(environment, "threads", None) or min(8, os.cpu_count() or 1),
            record_all=record_players, observation_type=Observation, token_bytes=self._token_bytes, stop=as_list(stop), episodes=episodes,
            grammar=self._bind_grammar(grammar),
        )
        own_seats = [seat for seat, player in enumerate(seats) if player == 0]  # without a policy another sampler's, and nothing is counted
        return RolloutDriver(core, engines, players, environment, max_tokens, own_seats)

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

    def _stats(self, core: Any, engines: list[Engine], num_episodes: int, total_s: float, flops: int) -> CollectionStats:
        own = core.counters(0) if engines else {}
        return CollectionStats(
            num_episodes=num_episodes, num_failed=core.num_failed, failure_reasons=core.failure_reasons,
            steps=own.get("steps", 0), tokens_prefilled=own.get("tokens_prefilled", 0),
            tokens_sampled=own.get("tokens_sampled", 0), prefixes_shared=own.get("prefixes_shared", 0), tokens_shared=own.get("tokens_shared", 0),
            evictions=own.get("evictions", 0), tokens_recomputed=own.get("tokens_recomputed", 0), swaps=own.get("swaps", 0),
            tokens_ahead=own.get("tokens_ahead", 0), tokens_overrun=own.get("tokens_overrun", 0),
            model_s=sum(e.model_s for e in engines),
            core_s=max(0.0, sum(e.core_s for e in engines) - core.wait_s), wait_s=core.wait_s, total_s=total_s,
            flops=flops,
        )

    def _runner(self, cache: PagedCache | None, max_tokens: int, seats: int) -> PolicyStep:
        """What runs the policy's steps, for its weights as they are now."""
        if self._device is None or cache is None or not isinstance(self.policy, Policy) or is_debugging():
            return PolicyStep(self.policy, cache, is_exact=self.is_exact)
        sizes = (cache, self.is_exact, max(self.slots, seats), math.ceil(max_tokens / self.block_size))
        if self._graphs is not None and self._graphs[0] == sizes:
            self._graphs[1].take_weights()
            return self._graphs[1]
        self._graphs = None  # before its successor is made
        step = DeviceStep(
            self.policy, cache, is_exact=sizes[1], slots=sizes[2], max_step_tokens=self.max_step_tokens, max_blocks=sizes[3], device=self._device
        )
        self._graphs = sizes, step
        return step

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
            num_blocks = default_blocks(probe.keys.nbytes + probe.values.nbytes, blocks_each, slots)
        if self._cache is None or self._cache.num_blocks < num_blocks:
            self._cache = None  # before its successor is made
            self._cache = new_cache(num_blocks, self.block_size)
        return self._cache, num_blocks


def default_blocks(block_bytes: int, blocks_each: int, slots: int) -> int:
    """How many blocks a cache has unless it is told: as many as `slots` sequences of `blocks_each` need, if 4 GiB hold them, and a null block."""
    affordable = int(_DEFAULT_CACHE_GIB * 2**30) // block_bytes
    return 1 + blocks_each * max(1, min(slots, affordable // blocks_each))


def name_of(environment: Any) -> str:
    """By which trajectories say where they come from."""
    return str(getattr(environment, "name", type(environment).__name__))


def _is_native(environment: Any) -> bool:
    """Whether the core steps this environment without Python."""
    return isinstance(environment, _core.NativeEnvironment)


def _default_max_tokens(policy: Any) -> int:
    made_for = getattr(getattr(policy, "config", None), "max_position_embeddings", None)
    if made_for is not None:
        return int(made_for)
    return _DEFAULT_MAX_TOKENS if hasattr(policy, "new_cache") else _UNLIMITED
