"""What worlds of episodes are made of, by kind: programs, proofs, documents, games against an opponent, levels of a grid, web pages.

A recipe's `options` of such a kind are the fields of its class here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from paradigm import config as configuration
from paradigm.config import ConfigError
from paradigm.environments import Code, ConnectFour, Documents, Metamath, MiniWoB, OpenSpiel, Versus, Workers, minigrid
from paradigm.environments.chromium import find_chromium
from paradigm.environments.minigrid import BabyAIBot
from paradigm.environments.miniwob import MINIWOB_TASKS
from paradigm.environments.players import NoisyPlayer
from paradigm.environments.splits import Split
from paradigm.environments.versus import SeatPlayer
from paradigm.sources.library_questions import library_questions
from paradigm.sources.program_tasks import KnownPrograms, Programmer, ProgramTasks
from paradigm.verifiers import CodeJudgement, CodeTask, CodeVerifier

__all__ = ["KINDS", "Episodes", "open_episodes"]


@dataclass(frozen=True)
class Episodes:
    """One kind of episode.

    Attributes:
        environment: of one seat.
        demonstrator: a player of it.
        tasks: (seed, n, split) -> n tasks, or as many as there are.
        describe: a task for a person.
        demonstrated_in: where demonstrations are played; None: in the environment.
    """

    environment: Any
    demonstrator: Any
    tasks: Callable[[int, int, Split], Sequence[Any]]
    describe: Callable[[Any], str]
    demonstrated_in: Any = None


@dataclass(frozen=True, kw_only=True)
class CodeOptions:
    """Python expressions for chains of operations in words (`ProgramTasks`), judged by tests in the sandbox.

    programs: how many different tasks; steps: operations in each, least and most; error_rate: share of the demonstrations that are wrong;
    max_action_tokens: the longest program; max_turns: programs in an episode.
    """

    programs: int = 4000
    steps: tuple[int, int] = (1, 3)
    error_rate: float = 0.15
    max_action_tokens: int = 96
    max_turns: int = 1

    def open(self) -> Episodes:
        programs = ProgramTasks(self.programs, self.steps)
        options: dict[str, Any] = {"max_action_tokens": self.max_action_tokens, "max_turns": self.max_turns}
        known: Any = KnownPrograms(programs)
        remembered: Any = _Remembered(CodeVerifier())
        return Episodes(
            Code(programs.tasks, remembered, **options), Programmer(programs, self.error_rate), programs.rows,
            lambda task: programs.tasks[task].prompt.strip(), Code(programs.tasks, known, **options),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MetamathOptions:
    """The theorems of the propositional theory whose known proofs have at most max_steps steps.

    masked: whether only steps that can be taken are allowed; error_rate: of the demonstrators' steps, after each of which they are lost.
    max_lines: in an episode.
    """

    max_steps: int = 20
    max_lines: int = 24
    masked: bool = True
    error_rate: float = 0.01

    def open(self) -> Episodes:
        world = Metamath(masked=self.masked, max_lines=self.max_lines, max_action_tokens=24)

        def describe(task: str) -> str:
            return f"{task} {' '.join(world.database.assertion(task).symbols)}"

        tasks = functools.partial(world.tasks, max_steps=self.max_steps)
        return Episodes(world, world.demonstrator(error_rate=self.error_rate), tasks, describe)


@dataclass(frozen=True, kw_only=True)
class DocumentsOptions:
    """Questions on short definitions of the Python standard library (`library_questions`), with BM25 search.

    source_bytes: of the library; max_document: characters of a definition; max_question: of a question; num_results, max_passage: what a search
    shows; max_calls: lines in an episode; max_action_tokens: the longest; error_rate: share of the demonstrators' answers that are another word.
    """

    source_bytes: int = 3_000_000
    max_document: int = 160
    max_question: int = 64
    num_results: int = 2
    max_passage: int = 16
    max_calls: int = 4
    max_action_tokens: int = 160
    error_rate: float = 0.15

    def open(self) -> Episodes:
        documents, questions = library_questions(self.source_bytes, max_document=self.max_document)
        asked = [question for question in questions if len(question.prompt) <= self.max_question]
        world = Documents(
            documents, asked, num_results=self.num_results, max_passage=self.max_passage, max_read=self.max_document, max_calls=self.max_calls,
            max_action_tokens=self.max_action_tokens,
        )  # fmt: skip
        return Episodes(world, world.demonstrator(error_rate=self.error_rate), world.tasks, lambda task: asked[task].prompt)


@dataclass(frozen=True, kw_only=True)
class GameOptions:
    """A game of two seats, the policy in either, against a player that is the world's; only a victory counts as success.

    opponent: "uniform" moves, or "demonstrator", who does not err. opening_plies: games begin with 0 to so many moves at random.
    error_rate: of the demonstrators' moves, made at random instead.
    """

    opponent: Literal["uniform", "demonstrator"] = "uniform"
    opening_plies: int = 2
    error_rate: float = 0.2

    def _against(self, game: Any, player: Any) -> Episodes:
        opponent = game.uniform_player() if self.opponent == "uniform" else player
        world = Versus(game, opponent, opening_plies=self.opening_plies)

        def describe(task: tuple[str, int]) -> str:
            return f"{game.name}, {'second' if task[1] else 'first'} to move, opening {task[0] or 'none'}"

        return Episodes(world, NoisyPlayer(SeatPlayer(player), self.error_rate), world.tasks, describe)


@dataclass(frozen=True, kw_only=True)
class OpenSpielOptions(GameOptions):
    """game: what OpenSpiel loads, in which nothing is hidden. simulations: of the demonstrators' tree search."""

    game: str = "tic_tac_toe"
    simulations: int = 60

    def open(self) -> Episodes:
        game = OpenSpiel(self.game, observe="moves", actions="numbers")
        return self._against(game, game.tree_search_player(self.simulations))


@dataclass(frozen=True, kw_only=True)
class ConnectFourOptions(GameOptions):
    """depth: plies that the demonstrators' alpha-beta search looks ahead."""

    depth: int = 4
    opening_plies: int = 4

    def open(self) -> Episodes:
        game = ConnectFour()
        return self._against(game, game.demonstrator(depth=self.depth, random_move_rate=0.0))


@dataclass(frozen=True, kw_only=True)
class MinigridOptions:
    """level: one of BabyAI's, whose bot demonstrates. view: rows and columns that are seen. max_steps: in an episode.

    error_rate: of the bot's actions, made at random instead.
    """

    level: str = "BabyAI-GoToObjS6-v1"
    view: int = 5
    max_steps: int = 16
    error_rate: float = 0.1

    def open(self) -> Episodes:
        world = minigrid(self.level, view=self.view, by_success=True, max_steps=self.max_steps)
        return Episodes(world, NoisyPlayer(BabyAIBot(), self.error_rate), world.tasks, lambda task: f"{self.level}, level {task}")


@dataclass(frozen=True, kw_only=True)
class ComputerOptions:
    """MiniWoB++'s pages in headless Chromium, a browser in each of some worker processes.

    pages: their names. processes: how many browsers; timeout: seconds that a reset or a step may take. max_actions: lines in an episode.
    max_action_tokens: the longest. error_rate: of the demonstrators' actions, which are a click on anything instead.
    """

    pages: tuple[str, ...] = MINIWOB_TASKS
    processes: int = 2
    timeout: float = 20.0
    max_actions: int = 8
    max_action_tokens: int = 48
    error_rate: float = 0.1

    def open(self) -> Episodes:
        find_chromium()  # before any process starts
        make = functools.partial(
            MiniWoB, self.pages, max_actions=self.max_actions, max_action_tokens=self.max_action_tokens, timeout=self.timeout / 2
        )  # fmt: skip
        tasks = make()
        workers = Workers(functools.partial(_started, make), self.processes, timeout=self.timeout)
        return Episodes(workers, tasks.demonstrator(error_rate=self.error_rate), tasks.tasks, lambda task: f"{task[0]} {task[1]}")


KINDS: dict[str, Any] = {
    "code": CodeOptions, "metamath": MetamathOptions, "documents": DocumentsOptions, "open_spiel": OpenSpielOptions,
    "connect_four": ConnectFourOptions, "minigrid": MinigridOptions, "computer": ComputerOptions,
}  # fmt: skip


def open_episodes(kind: str, options: dict[str, Any], where: str) -> Episodes:
    """The episodes of a kind.

    Raises: ConfigError for options that it lacks or refuses; ImportError, SandboxUnavailable and BrowserUnavailable, saying what is missing.
    """
    chosen = configuration.decode(KINDS[kind], options, where)
    try:
        return chosen.open()
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _started(make: Callable[[], MiniWoB]) -> MiniWoB:
    return make().start()


class _Remembered:
    """A verifier that judges no program twice: a group's programs are often the same."""

    def __init__(self, verifier: CodeVerifier):
        self._verifier = verifier
        self._known: dict[tuple[str, str], CodeJudgement] = {}

    def judge(self, task: CodeTask, response: str) -> CodeJudgement:
        key = (task.prompt, response)
        if key not in self._known:
            judgement = self._verifier.judge(task, response)
            if judgement.verdict.error is not None:
                return judgement
            self._known[key] = judgement
        return self._known[key]
