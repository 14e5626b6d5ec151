"""Formal proofs: a theorem in Metamath's own notation, proof steps a line, what each leaves on the stack, and a checker's verdict.

    syl.j1 $e |- ( p -> q ) $.         the prompt: hypotheses, conditions, and the theorem up to its proof
    syl.j $p |- ( p -> r ) $=
    wq wr wi                           an action: labels of one or more steps, ended by a newline
    wff ( q -> r )                     the answer: the top of the stack

A line that begins with `(` is a whole compressed proof. A line that cannot be taken is answered `? ` and the reason, and leaves the stack as
it was.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from paradigm.environments.protocol import Observation, Step, without_stop
from paradigm.environments.splits import Split, split_of
from paradigm.environments.text_codec import ByteCodec, TextCodec
from paradigm.verifiers import MetamathDatabase, MetamathError, MetamathProof, MetamathVerifier, Verdict

__all__ = ["Metamath", "MetamathDemonstrator", "metamath_split", "propositional_theory"]

_MAX_REASON = 200


@functools.cache
def propositional_theory() -> MetamathDatabase:
    """Propositional calculus after Lukasiewicz, which comes with the package: 3 axioms, modus ponens, over 500 theorems with proofs."""
    return MetamathDatabase.read(Path(__file__).with_name("propositional.mm"))


class Metamath:
    """Theorems to be proved, one seat; a task is a theorem's label.

    The reward is the verdict of `verifier` on the whole proof, given as soon as the stack holds the theorem alone; an episode that goes over
    its limits ends with 0. Nothing but earlier statements may be used, whatever is in the database.

    Args:
        database: where the theorems stand; None: `propositional_theory()`. `MetamathDatabase.read` reads set.mm.
        verifier: judges whole proofs; its limits are those of an episode, too. None: one with its defaults.
        tokenizer: encodes prompts and answers, decodes actions; None: UTF-8 bytes.
        stop: ids that end an action; by default the newline byte.
        max_action_tokens: the longest line.
        max_lines: lines a policy may write in an episode.
        max_refusals: lines that may be refused; the next such line ends the episode.
        max_answer: characters of a statement that are shown; longer ones are cut.
        masked: whether actions are confined to single steps that can be taken; each is tried, so this is for small databases.

    Attributes:
        proof: what stands of the proof; None before the first reset.
        verdict: on the last episode's proof; None before its end.
    Raises: ValueError for values out of range.
    """

    name = "metamath"
    num_seats = 1

    def __init__(
        self,
        database: MetamathDatabase | None = None,
        verifier: MetamathVerifier | None = None,
        *,
        tokenizer: TextCodec | None = None,
        stop: Sequence[int] = (10,),
        max_action_tokens: int = 128,
        max_lines: int = 256,
        max_refusals: int = 0,
        max_answer: int = 400,
        masked: bool = False,
    ):
        limits = {"max_action_tokens": max_action_tokens, "max_lines": max_lines, "max_answer": max_answer}
        for argument, value in limits.items():
            if value < 1:
                raise ValueError(f"{argument} must be >= 1, got {value}")
        if max_refusals < 0:
            raise ValueError(f"max_refusals must be >= 0, got {max_refusals}")
        if verifier is not None and database is not None and verifier.database is not database:
            raise ValueError("verifier must judge by the given database, got one of another")
        if database is None:
            database = verifier.database if verifier else propositional_theory()
        self.database = database
        self._verifier = verifier or MetamathVerifier(database)
        self._tokenizer: TextCodec = tokenizer or ByteCodec()
        self._stop = tuple(stop)
        self._max_action_tokens, self._max_lines, self._max_refusals = max_action_tokens, max_lines, max_refusals
        self._max_answer, self._masked = max_answer, masked
        self._known: dict[str, MetamathProof] = {}  # the database's proofs that were checked; shared with clones
        self.proof: MetamathProof | None = None
        self._num_lines = self._num_refused = 0
        self._taken: tuple[str, ...] = ()  # lines, which the verifier judges together
        self.verdict: Verdict | None = None

    def tasks(self, seed: int, n: int, split: Split = "train", *, max_steps: int | None = None) -> list[str]:
        """Theorems of one split (see `metamath_split`), shuffled; a longer list starts with the shorter one of the same seed.

        Args:
            max_steps: leaves out theorems whose proofs in the database are longer, in steps of the uncompressed form.
        Returns: n labels, or as many as there are.
        """
        found = [label for label in self.database.theorems() if metamath_split(self.database, label) == split]
        order = np.random.default_rng(seed).permutation(len(found))
        chosen: list[str] = []
        for row in order:
            if len(chosen) == n:
                break
            if max_steps is None or self.known_proof(found[row], max_steps) is not None:
                chosen.append(found[row])
        return chosen

    def known_proof(self, theorem: str, max_steps: int = 20_000) -> list[str] | None:
        """The database's own proof of `theorem`, uncompressed; None if it has more than `max_steps` steps.

        Raises: MetamathError if it is wrong, KeyError if `theorem` is no theorem's label.
        """
        if theorem not in self._known:
            self._known[theorem] = self._verifier.check(theorem)
        return self._known[theorem].labels(max_steps)

    def demonstrator(self, *, error_rate: float = 0.0) -> MetamathDemonstrator:
        """A player that writes the database's proofs, a step a line; see `MetamathDemonstrator`."""
        return MetamathDemonstrator(error_rate)

    def reset(self, task: str, seed: int = 0) -> Step:
        """Poses the theorem labelled `task`. Raises: ValueError if there is none."""
        found = self.database.statements.get(task)
        if found is None or getattr(found, "proof", None) is None:
            raise ValueError(f"task must be a theorem's label, got {task!r}")
        assertion = self.database.assertion(task)
        self.proof = MetamathProof(self.database, assertion, self._verifier.limits)
        self._num_lines = self._num_refused = 0
        self._taken, self.verdict = (), None
        lines = []
        for label in assertion.hypotheses:
            hypothesis = self.database.statements[label]
            if label not in assertion.scope_floating:
                lines.append(f"{label} $e {' '.join(hypothesis.symbols)} $.")
        lines += [f"$d {first} {second} $." for first, second in sorted(assertion.disjoint)]
        lines.append(f"{task} $p {' '.join(assertion.symbols)} $=")
        return Step([self._ask("\n".join(lines) + "\n")], (0.0,))

    def step(self, action: ArrayLike) -> Step:
        """Takes one line. Raises: RuntimeError before a reset or after the end."""
        if self.proof is None or self.verdict is not None:
            raise RuntimeError("step needs a reset before it, and none after the end")
        line = self._tokenizer.decode(without_stop(action, self._stop))
        self._num_lines += 1
        proof = self.proof
        try:
            words = self._verifier.tokens(line)
            proof = self._take(words)
            self._taken = (*self._taken, " ".join(words)) if words[0] != "(" else (" ".join(words),)
            answer = self._shown(" ".join(proof.stack[-1]))
        except MetamathError as error:
            answer = f"? {str(error)[:_MAX_REASON]}"
            self._num_refused += 1
            if self._num_refused > self._max_refusals:
                return self._end(Verdict(0.0, str(error)), answer)
        self.proof = proof
        if proof.is_complete:
            return self._end(self._verifier(proof.theorem.label, "\n".join(self._taken)), answer)
        if self._num_lines == self._max_lines:
            return self._end(Verdict(0.0, f"no proof in {self._max_lines} lines"), answer)
        return Step([self._ask(answer + "\n")], (0.0,))

    def clone(self) -> Metamath:
        """A copy in the same state, of the same database and verifier."""
        copy = object.__new__(Metamath)
        copy.__dict__.update(self.__dict__)
        copy.proof = self.proof and self.proof.copy()
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Metamath:
        return self.clone()

    def _take(self, tokens: list[str]) -> MetamathProof:
        """The proof after a line, which is taken whole or not at all."""
        assert self.proof is not None
        if not tokens:
            raise MetamathError("a line must name a step")
        if tokens[0] == "(":
            return self._verifier.run(self.proof.theorem, tokens)
        proof = self.proof.copy()
        for label in tokens:
            proof.step(label)
        return proof

    def _end(self, verdict: Verdict, answer: str) -> Step:
        self.verdict = verdict
        tokens = np.asarray(self._tokenizer.encode(answer + "\n"), np.int32)
        return Step([Observation(tokens)], (verdict.score,), terminated=True)

    def _ask(self, text: str) -> Observation:
        tokens = np.asarray(self._tokenizer.encode(text), np.int32)
        return Observation(tokens, stop=self._stop, max_action_tokens=self._max_action_tokens, legal=self._legal() if self._masked else None)

    def _legal(self) -> list[list[int]]:
        """Every single step that can be taken now, as a line."""
        assert self.proof is not None
        lines = [f"{label}\n" for label in self.database.usable(self.proof.theorem) if self.proof.allows(label)]
        return [list(self._tokenizer.encode(line)) for line in lines]

    def _shown(self, text: str) -> str:
        return text if len(text) <= self._max_answer else text[: self._max_answer] + " ..."


class MetamathDemonstrator:
    """Plays the next step of the database's proof, as a pure function of (state, seed).

    Where the steps taken are not its beginning, it has nothing to say and raises; one that errs goes on at random.

    Args:
        error_rate: probability, at each step, of a step at random instead: of those that can be taken, if the environment lists them, else of
            all that may be named.
    Raises: ValueError unless that is in [0, 1].
    """

    def __init__(self, error_rate: float = 0.0):
        if not 0 <= error_rate <= 1:
            raise ValueError(f"error_rate must be in [0, 1], got {error_rate}")
        self._error_rate = error_rate

    def act(self, environment: Metamath, observation: Observation, seed: int) -> list[int]:
        """The next line's tokens. Raises: RuntimeError off the known proof, if the error rate is 0."""
        proof = environment.proof
        if proof is None:
            raise RuntimeError("act needs a reset before it")
        taken, known = proof.labels() or [], environment.known_proof(proof.theorem.label)
        is_lost = known is None or taken != known[: len(taken)] or len(taken) == len(known)
        draw = np.random.default_rng(seed)
        if self._error_rate and (is_lost or draw.random() < self._error_rate):
            if observation.legal:
                return list(observation.legal[int(draw.integers(len(observation.legal)))])
            labels = environment.database.usable(proof.theorem)
            return list(environment._tokenizer.encode(labels[int(draw.integers(len(labels)))] + "\n"))
        if is_lost or known is None:
            raise RuntimeError(f"the steps taken do not begin the known proof of {proof.theorem.label!r}")
        return list(environment._tokenizer.encode(known[len(taken)] + "\n"))


def metamath_split(database: MetamathDatabase, theorem: str) -> Split:
    """The split of a theorem: 80, 5 and 15 in a hundred are in train, validation and test, by a hash of what it states.

    Statements that differ in the names of variables, or the order of hypotheses' labels, share a split. The proof of one theorem may use another
    one of any split: what is held out is its proof.
    """
    assertion = database.assertion(theorem)
    names: dict[str, str] = {}
    parts = []
    for label in assertion.hypotheses:
        hypothesis = database.statements[label]
        if label not in assertion.scope_floating:
            parts.append(hypothesis.symbols)
    text = "\n".join(
        " ".join(names.setdefault(symbol, f"#{len(names)}") if symbol in database.variables else symbol for symbol in symbols)
        for symbols in [assertion.symbols, *parts]
    )
    return split_of(text)
