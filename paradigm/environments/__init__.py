"""Worlds that speak and listen in tokens: the protocol, the native ones, problems in text, mixtures, and single-turn ones made of a verifier."""

from paradigm.environments.arithmetic import (
    Arithmetic,
    ArithmeticLabel,
    arithmetic_classify,
    arithmetic_result_positions,
    arithmetic_split,
    arithmetic_tasks,
    arithmetic_text,
)
from paradigm.environments.code import Code
from paradigm.environments.connect_four import ConnectFour
from paradigm.environments.mixture import Mixture
from paradigm.environments.protocol import Environment, Observation, Step
from paradigm.environments.single_turn import SingleTurn, from_verifier
from paradigm.environments.worked_problems import Problem, WorkedProblems

__all__ = [
    "Arithmetic",
    "ArithmeticLabel",
    "Code",
    "ConnectFour",
    "Environment",
    "Mixture",
    "Observation",
    "Problem",
    "SingleTurn",
    "Step",
    "WorkedProblems",
    "arithmetic_classify",
    "arithmetic_result_positions",
    "arithmetic_split",
    "arithmetic_tasks",
    "arithmetic_text",
    "from_verifier",
]
