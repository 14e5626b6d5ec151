"""Connect-Four at random: moves a second through the sampler's scheduler, without a model, against OpenSpiel through Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Case, Contestant, Setting

SUMMARY = "games of uniform random moves through the sampler, no model, against OpenSpiel through Python; moves/s"
RIVALS = {"pyspiel": "open-spiel>=2", "open_spiel": "open-spiel>=2"}

_VOCAB = 272
_UNFAIR = (
    "To OpenSpiel: its C++ is called a move at a time from Python, which is how a Python trainer meets it but not how fast its C++ is; ours returns "
    "to Python once a step of all games, or not at all with native players. To paradigm: the reference keeps what a learner needs of each seat's "
    "trajectory (token, mask, reward, log-prob, legal set) in Python lists that become arrays once a run, while ours also labels segments, "
    "decisions and versions, and checks every action against the legal set; OpenSpiel's 'moves only' row keeps just moves and returns, and "
    "its rl_environment, the documented Python interface for learners, also makes observation tensors, which ours has no use for. Rows with more "
    "threads than one use cores that OpenSpiel's loop, under the GIL, cannot. The row 'drawn by the sampler' pays for logits, filters and "
    "log-probs too."
)


class _UniformPolicy(torch.nn.Module):
    """Equal logits for all tokens, so that what is drawn is uniform over the legal ones; needs no cache."""

    def __init__(self) -> None:
        super().__init__()
        self.head_weight = torch.nn.Parameter(torch.zeros(_VOCAB, 1))

    def forward(self, tokens: Tensor, layout: Any) -> Tensor:
        return torch.zeros(tokens.shape[0], 1)


def cases(setting: Setting) -> Iterator[Case]:
    games = 128 if setting.quick else 2048
    cores = max(2, torch.get_num_threads())
    yield Case(
        op="connect_four", shape=f"{games} games from the empty board", dtype="int32", unit="moves/s", reference="open_spiel, trajectories kept",
        providers={
            "paradigm, native players, 1 thread": _players(games, 1),
            f"paradigm, native players, {cores} threads": _players(games, cores),
            "paradigm, plan/commit of uniform ids, 1 thread": _plan_commit(games),
            "paradigm, drawn by the sampler, 1 thread": _policy(games),
            "open_spiel, trajectories kept": _open_spiel(games, keep=True),
            "open_spiel, moves only": _open_spiel(games, keep=False),
            "open_spiel, its rl_environment": _rl_environment(games),
        },
        goals={"paradigm, native players, 1 thread": 5.0, "paradigm, plan/commit of uniform ids, 1 thread": 5.0},
        packages=("open-spiel",), unfair=_UNFAIR,
        prediction="native players >= 10x on one thread; plan/commit >= 5x; drawn by the sampler less, as each move costs a row of logits",
    )  # fmt: skip


def _collect(sampler: Any, games: int, threads: int, opponents: dict[int, Any]) -> float:
    from paradigm.environments import ConnectFour

    rollouts = sampler.collect(
        ConnectFour(), [""] * games, group_size=1, key=(0, next(_step)), opponents=opponents, record_players=True, max_tokens=128, threads=threads
    )
    if len(rollouts) != 2 * games or rollouts.failed.any() or not rollouts.terminated.all():
        raise RuntimeError("not every game was played to its end for both seats")
    return float(rollouts.action_mask.sum())


def _counter() -> Iterator[int]:
    number = 0
    while True:
        yield (number := number + 1)


_step = _counter()  # other games in each run


def _players(games: int, threads: int) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from paradigm.environments import ConnectFour
        from paradigm.sampler import Sampler

        player = ConnectFour().uniform_player()
        sampler = Sampler(None, vocab_size=_VOCAB)
        return Contestant(lambda: _collect(sampler, games, threads, {0: player, 1: player}))

    return build


def _policy(games: int) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from paradigm.sampler import Sampler

        sampler = Sampler(_UniformPolicy(), slots=2 * min(games, 1024))
        return Contestant(lambda: _collect(sampler, games, 1, {}))

    return build


def _plan_commit(games: int) -> Callable[[], Contestant]:
    """The core alone: what plan asks for is drawn by numpy from the legal sets, and committed."""

    def build() -> Contestant:
        from paradigm import _core
        from paradigm.environments import ConnectFour, Observation

        slots = 2 * min(games, 1024)
        generator = np.random.default_rng(0)
        logprobs_by_count = -np.log(np.maximum(np.arange(8), 1)).astype(np.float32)
        word, shift = divmod(ord("1"), 32)
        is_legal = np.arange(128)[:, None] >> np.arange(7) & 1 == 1  # by mask of columns
        num_legal = is_legal.sum(1)
        legal_ids = (np.argsort(~is_legal, axis=1, kind="stable") + ord("1")).astype(np.int32)  # the legal ones first

        def run() -> float:
            core = _core.Scheduler(
                environment=ConnectFour().native, tasks=[""] * games, seats=[0, 0], policies=[(slots, 4096, 1 + slots * 8, 16)], group_size=1,
                key=next(_step), vocab_size=_VOCAB, max_tokens=128, sampling=(1.0, 0, 1.0, 0.0), forced={}, threads=1, record_all=False,
                observation_type=Observation,
            )  # fmt: skip
            rows = core.buffers(0)["support_row"]
            kept_logmass = np.zeros(slots, np.float32)
            while not core.is_done:
                num_tokens, _, num_rows = core.plan(0)
                if num_tokens == 0:
                    continue
                legal = core.support_table()[rows[:num_rows], word] >> shift & 127
                counts = num_legal[legal]
                drawn = (generator.random(num_rows) * counts).astype(np.intp)
                core.commit(0, legal_ids[legal, drawn], logprobs_by_count[counts], kept_logmass[:num_rows])
            arrays, failures = core.take()
            core.close()
            if failures or not arrays["terminated"].all():
                raise RuntimeError(f"not every game was played to its end: {failures}")
            return float(arrays["action_mask"].sum())

        return Contestant(run)

    return build


def _open_spiel(games: int, *, keep: bool) -> Callable[[], Contestant]:
    def build() -> Contestant:
        import pyspiel

        game = pyspiel.load_game("connect_four")
        uniform = random.Random(0).random
        logprobs_by_count = [0.0, *(-np.log(np.arange(1, 8))).tolist()]

        def moves_only() -> float:
            total, kept = 0, []
            for _ in range(games):
                state = game.new_initial_state()
                moves = []
                while not state.is_terminal():
                    legal = state.legal_actions()
                    moves.append(move := legal[int(uniform() * len(legal))])
                    state.apply_action(move)
                total += len(moves)
                kept.append((moves, state.returns()))
            return float(total)

        def trajectories() -> float:
            tokens, masks, rewards, logprobs, supports, lengths = [], [], [], [], [], []
            for _ in range(games):
                state = game.new_initial_state()
                streams: list[list[tuple[int, bool, float, int]]] = [[], []]  # by seat: token, mask, log-prob, legal set
                while not state.is_terminal():
                    mover = state.current_player()
                    legal = state.legal_actions()
                    move = legal[int(uniform() * len(legal))]
                    support = 0
                    for column in legal:
                        support |= 1 << column
                    streams[mover].append((move, True, logprobs_by_count[len(legal)], support))
                    streams[1 - mover].append((move, False, 0.0, 0))
                    state.apply_action(move)
                returns = state.returns()
                for seat in (0, 1):
                    stream = streams[seat]
                    lengths.append(len(stream))
                    token, mask, logprob, support_set = zip(*stream, strict=True)
                    tokens.extend(token)
                    masks.extend(mask)
                    logprobs.extend(logprob)
                    supports.extend(support_set)
                    reward = [0.0] * len(stream)
                    reward[len(stream) - 1 - (not mask[-1])] = returns[seat]  # on the seat's last move
                    rewards.extend(reward)
            arrays = (
                np.array(tokens, np.int32), np.array(masks, np.bool_), np.array(rewards, np.float32), np.array(logprobs, np.float32),
                np.array(supports, np.uint8), np.array(lengths, np.int64),
            )  # fmt: skip
            return float(arrays[1].sum())

        return Contestant(trajectories if keep else moves_only)

    return build


def _rl_environment(games: int) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from open_spiel.python import rl_environment

        environment = rl_environment.Environment("connect_four")
        uniform = random.Random(0).random

        def run() -> float:
            total, kept = 0, []
            for _ in range(games):
                now = environment.reset()
                while not now.last():
                    mover = now.observations["current_player"]
                    legal = now.observations["legal_actions"][mover]
                    move = legal[int(uniform() * len(legal))]
                    kept.append((now.observations["info_state"][mover], move, legal))
                    now = environment.step([move])
                    total += 1
                kept.append(now.rewards)
            return float(total)

        return Contestant(run)

    return build
