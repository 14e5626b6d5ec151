"""MiniGrid and BabyAI (M. Chevalier-Boisvert et al., arXiv:2306.13831, arXiv:1810.08272), their grids as text and their bot as demonstrator.

A view is a line a row, two characters a cell: what is there (` ` unseen, `.` nothing, `#` wall, `_` floor, `/` open door, `+` closed door,
`=` locked door, `k` key, `o` ball, `b` box, `G` goal, `~` lava, `A` agent) and its colour's first letter (`r` red, `g` green, `b` blue,
`p` purple, `y` yellow, `e` grey; a space where it does not matter). The agent looks up from the middle of the last row, where what it
carries is shown. The mission is said once, at the beginning.
"""

from __future__ import annotations

import importlib
from typing import Any

from paradigm.environments.gymnasium import Gymnasium
from paradigm.environments.protocol import Observation

__all__ = ["BabyAIBot", "minigrid", "minigrid_text"]

# in MiniGrid's own order
_OBJECTS = " .#_+kobG~A"
_DOOR, _DOORS = 4, "/+="
_COLOURS = "rgbpye"
_COLOURED = frozenset("_/+=kob")
_ACTIONS = ("l", "r", "f", "p", "d", "t", "x")  # left, right, forward, pick up, drop, toggle, done


def minigrid(level: str, *, view: int = 7, by_success: bool = False, **options: Any) -> Gymnasium:
    """A level of MiniGrid or BabyAI as an environment; actions are single letters: left, right, forward, pick up, drop, toggle, done (`x`).

    Args:
        level: its id in Gymnasium, such as `MiniGrid-DoorKey-5x5-v0` or `BabyAI-GoToLocal-v0`.
        view: rows and columns that are seen, odd.
        by_success: whether reaching the goal is worth 1 after however many steps, instead of less for each.
        options: of `Gymnasium`.
    Raises: ImportError, saying what to install; ValueError unless view is odd and >= 3; and what `Gymnasium` raises.
    """
    try:
        importlib.import_module("minigrid")  # registers its levels
    except ImportError as error:
        raise ImportError("MiniGrid and BabyAI need it: pip install 'paradigm-trainer[minigrid]'") from error
    if view < 3 or view % 2 == 0:
        raise ValueError(f"view must be odd and >= 3, got {view}")
    import gymnasium

    def make() -> Any:
        from minigrid.wrappers import ViewSizeWrapper

        environment = gymnasium.make(level)
        if view != 7:
            environment = ViewSizeWrapper(environment, agent_view_size=view)
        return gymnasium.wrappers.TransformReward(environment, lambda reward: float(float(reward) > 0)) if by_success else environment

    made = make if view != 7 or by_success else level
    return Gymnasium(made, encode=minigrid_text, describe=lambda observation: str(observation["mission"]), actions=_ACTIONS, **options)


def minigrid_text(observation: Any) -> str:
    """The view in `observation["image"]`, uint8 [columns, rows, 3], as text."""
    return "\n".join("".join(_cell(*cell) for cell in row) for row in observation["image"].transpose(1, 0, 2).tolist())


class BabyAIBot:
    """BabyAI's own bot, which knows the whole level; for BabyAI's levels only. It plays an episode again before each action."""

    def act(self, environment: Gymnasium, observation: Observation, seed: int) -> list[int]:
        """The tokens of its next action."""
        from minigrid.utils.baby_ai_bot import BabyAIBot as Bot

        bot, last = None, None

        def watch(world: Any, action: int) -> None:
            nonlocal bot, last
            bot = bot or Bot(world.unwrapped)
            bot.replan(last)
            last = action

        world = environment.replayed(watch)
        return environment.encoded(int((bot or Bot(world.unwrapped)).replan(last)))


def _cell(kind: int, colour: int, state: int) -> str:
    mark = _DOORS[state] if kind == _DOOR else _OBJECTS[kind]
    return mark + (_COLOURS[colour] if mark in _COLOURED else " ")
