"""Sequences: tokens that are forked, appended to, sampled from, scored and evaluated, outside any environment.

    with Sampler(policy).sequences(max_tokens=512) as sequences:
        root = sequences(prompt)
        branches = [root.fork() for _ in range(8)]
        thoughts = [branch.sample(32, temperature=1.0) for branch in branches]    # nothing runs yet ...
        values = [branch.evaluate() for branch in branches]
        best = max(range(8), key=lambda b: values[b].result().value)              # ... until an answer is wanted
        score = branches[best].score(answer).result().logprobs.sum()

Tree search, reward models and teachers are such questions. A fork shares its parent's keys and values, those of generated tokens too, and what it
adds is its own. In exact mode a score is bit for bit what `policy.log_probs` gives those tokens, and a sample has the log-probs and the noise
of its sequence's index, whatever else is asked meanwhile.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Generator
from collections.abc import Sequence as Series
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from paradigm.rollout_driver import RolloutDriver, Stop, as_list

if TYPE_CHECKING:
    from paradigm.sampler import Sampler

__all__ = ["Continuation", "Evaluation", "Pending", "Sequence", "SequenceError", "Sequences"]

Result = TypeVar("Result")


class SequenceError(RuntimeError):
    """What was asked of a sequence could not be done; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Continuation:
    """Tokens that were drawn or scored; fields as those of a Trajectory.

    Attributes:
        start: where in the sequence they stand.
        tokens, version: int32 [n]. logprobs, kept_logmass: float32 [n], the latter 0 where they were scored.
        support: bool [n, V], which tokens were legal; None if all were.
    """

    start: int
    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    kept_logmass: NDArray[np.float32]
    version: NDArray[np.int32]
    support: NDArray[np.bool_] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """What the policy thinks at the end of a sequence.

    Attributes:
        logprobs: float32 [K], log-probs of the tokens asked about, renormalised over them; of all, [V], by default.
        value: of the policy's head "value"; None if it has none.
    """

    logprobs: NDArray[np.float32]
    value: float | None


class Pending(Generic[Result]):
    """An answer to come: `result()` where nothing is asynchronous, `await` it where an event loop runs."""

    def __init__(self, drive: Callable[[], None] | None):
        self._drive = drive
        self._future: concurrent.futures.Future[Result] = concurrent.futures.Future()

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def result(self) -> Result:
        """The answer; runs steps until it is there. Raises: SequenceError."""
        while not self._future.done():
            if self._drive is None:
                raise RuntimeError("an AsyncSampler's answer must be awaited")
            self._drive()
        return self._future.result()

    def __await__(self) -> Generator[Any, None, Result]:
        if self._drive is not None:
            return self._at_once().__await__()
        return asyncio.wrap_future(self._future).__await__()

    async def _at_once(self) -> Result:
        return self.result()


class Sequence:
    """Tokens of a policy's, which keep their keys and values while there is room. Made by `Sequences`, an AsyncSampler, or `fork`.

    What is asked is done in order; answers may be asked for in any. As a context it is released at its end.
    """

    def __init__(self, desk: Desk, index: int):
        self._desk, self.index = desk, index

    def fork(self, length: int | None = None) -> Sequence:
        """Another one that begins with the first `length` tokens (None: all that are there once what was asked so far is done)."""
        return self._desk.fork(self.index, 0, length)

    def append(self, tokens: ArrayLike) -> Pending[None]:
        """Adds tokens. Fails where that is longer than `max_tokens`."""
        return self._desk.ask(self.index, "append", lambda answer: None, tokens=tokens)

    def sample(
        self, max_tokens: int, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, stop: Stop = (),
        legal: Series[Series[int]] | None = None, grammar: Any = None,
    ) -> Pending[Continuation]:  # fmt: skip
        """Draws tokens and adds them.

        Args:
            max_tokens: at most so many.
            temperature, top_k, top_p, min_p: of the draws, as in `Sampler.collect`.
            stop: token ids and texts that end it, included in it. legal: the token sequences among which it chooses, as of an Observation.
            grammar: what it says, as in `Sampler.collect`.
        """
        return self._desk.ask(
            self.index, "sample", self._desk.continuation, max_tokens=max_tokens, sampling=(temperature, top_k, top_p, min_p),
            stop=as_list(stop), legal=legal, grammar=self._desk.bind(grammar),
        )  # fmt: skip

    def score(self, tokens: ArrayLike, *, temperature: float = 1.0) -> Pending[Continuation]:
        """Log-probs of the tokens, which are added: fork first to score several."""
        return self._desk.ask(self.index, "score", self._desk.continuation, tokens=tokens, sampling=(temperature, 0, 1.0, 0.0))

    def evaluate(self, support: ArrayLike | None = None) -> Pending[Evaluation]:
        """The policy's distribution over the token ids `support` (None: all) at the end of the sequence, and its value."""
        chosen = None if support is None else torch.as_tensor(np.asarray(support, np.int64))
        if chosen is not None and (chosen.dim() != 1 or not len(chosen) or not bool(((chosen >= 0) & (chosen < self._desk.vocab_size)).all())):
            raise ValueError(f"support must be token ids [K] in 0..{self._desk.vocab_size - 1}, K >= 1, got {chosen.tolist()[:8]}")
        return self._desk.ask(self.index, "evaluate", lambda answer: self._desk.evaluation(answer, chosen))

    def release(self) -> None:
        """Lets go of its slot and blocks; what was not answered fails."""
        self._desk.release(self.index)

    def __enter__(self) -> Sequence:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


Answer = tuple[int, str, int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


class Desk:
    """Where questions are numbered, and their answers found."""

    def __init__(
        self, driver: RolloutDriver, sampler: Sampler, next_index: Callable[[], int], drive: Callable[[], None] | None, wake: Callable[[], None]
    ):
        self._core, self._engines, self._sampler = driver.core, driver.engines, sampler
        self._next_index, self._drive, self._wake = next_index, drive, wake
        self._numbers = itertools.count()
        self._asked: dict[int, tuple[Pending[Any], Callable[[Answer], Any]]] = {}
        self._live: set[int] = set()
        self.vocab_size = sampler.vocab_size

    @property
    def num_live(self) -> int:
        return len(self._live)

    def is_live(self, index: int) -> bool:
        return index in self._live

    def open(self, tokens: ArrayLike) -> Sequence:
        return self._begin(lambda index: self._core.open(index, np.asarray(tokens)))

    def fork(self, parent: int, seat: int, length: int | None) -> Sequence:
        if length is not None and length < 1:
            raise ValueError(f"length must be >= 1, got {length}")
        return self._begin(lambda index: self._core.fork(index, parent, seat, -1 if length is None else length))

    def _begin(self, begin: Callable[[int], None]) -> Sequence:
        index = self._next_index()
        begin(index)
        self._live.add(index)
        self._wake()
        return Sequence(self, index)

    def ask(self, index: int, kind: str, to_result: Callable[[Answer], Any], **question: Any) -> Pending[Any]:
        if index not in self._live:
            raise SequenceError(f"sequence {index} was released")
        number = next(self._numbers)
        pending: Pending[Any] = Pending(self._drive)
        self._asked[number] = pending, to_result
        try:
            tokens = np.asarray(question.pop("tokens", ()), np.int32)
            self._core.ask(index, number=number, kind=kind, tokens=tokens, **question)
        except BaseException:
            del self._asked[number]
            raise
        self._wake()
        return pending

    def bind(self, grammar: Any) -> Any:
        return self._sampler._bind_grammar(grammar)

    def release(self, index: int) -> None:
        if index in self._live:
            self._live.discard(index)
            self._core.release(index)
            self._wake()

    def settle(self) -> None:
        """Hands out the answers that have come."""
        for answer in self._core.take_answers():
            pending, to_result = self._asked.pop(answer[0])
            if not pending._future.set_running_or_notify_cancel():  # whoever awaited it was cancelled
                continue
            if answer[1]:
                pending._future.set_exception(SequenceError(answer[1]))
            else:
                pending._future.set_result(to_result(answer))

    def fail(self, error: BaseException) -> None:
        """Nothing will be answered any more."""
        asked, self._asked = self._asked, {}
        for pending, _ in asked.values():
            if pending._future.set_running_or_notify_cancel():
                pending._future.set_exception(error)
        self._live.clear()

    def continuation(self, answer: Answer) -> Continuation:
        _, _, start, tokens, logprobs, kept_logmass, version, rows = answer
        return Continuation(start, tokens, logprobs, kept_logmass, version, self._legal(rows) if (rows >= 0).any() else None)

    def evaluation(self, answer: Answer, support: torch.Tensor | None) -> Evaluation:
        logits, value = next(engine.evaluations.pop(answer[0]) for engine in self._engines if answer[0] in engine.evaluations)
        chosen = logits if support is None else logits[support]
        return Evaluation(torch.log_softmax(chosen, dim=0).numpy(), value)

    def _legal(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        table, token = self._core.support_table(), np.arange(self.vocab_size)
        words = np.where((rows >= 0)[:, None], table[np.maximum(rows, 0)], np.uint32(0xFFFFFFFF))
        return (words[:, token // 32] >> (token % 32).astype(np.uint32) & 1).astype(bool)


class Sequences:
    """A sampler's sequences, for a program that waits for its answers. Made by `Sampler.sequences`; used as a context.

    Called with tokens it opens a sequence. There may be as many as the sampler has slots; `index` of each names its noise, so that they are
    the same in each run that opens and forks in the same order.
    """

    def __init__(self, driver: RolloutDriver, sampler: Sampler, slots: int):
        indices = itertools.count()
        self._driver, self._slots = driver, slots
        self._desk = Desk(driver, sampler, lambda: self._room(next(indices)), self.step, lambda: None)

    def _room(self, index: int) -> int:
        if self._desk.num_live >= self._slots:
            raise ValueError(f"slots must be at least as many as the sequences that are not released, got {self._slots}")
        return index

    def __call__(self, tokens: ArrayLike) -> Sequence:
        """Opens a sequence of these tokens, int [n], n >= 1."""
        return self._desk.open(tokens)

    def step(self) -> None:
        """Runs one step for all that was asked."""
        self._driver.step()
        self._desk.settle()

    def counters(self) -> dict[str, int]:
        """What was fed, shared, forked and copied so far."""
        return dict(self._driver.core.counters(0))

    def __enter__(self) -> Sequences:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._desk.fail(SequenceError("the sequences were closed"))


class Nowhere:
    """The world of sequences, in which nothing happens."""

    name = "sequences"

    def reset(self, task: Any, seed: int) -> Any:
        raise RuntimeError("sequences have no environment")

    step = reset
