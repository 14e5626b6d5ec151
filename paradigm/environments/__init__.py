"""Worlds that speak and listen in tokens: the protocol, native ones, problems in text, proofs, documents, games, mixtures, workers."""

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
from paradigm.environments.dialogues import Dialogues
from paradigm.environments.documents import BM25Search, Documents
from paradigm.environments.gymnasium import Gymnasium
from paradigm.environments.metamath import Metamath, metamath_split, propositional_theory
from paradigm.environments.minigrid import minigrid, minigrid_text
from paradigm.environments.miniwob import MiniWoB
from paradigm.environments.mixture import Mixture
from paradigm.environments.open_spiel import OpenSpiel
from paradigm.environments.pettingzoo import PettingZoo
from paradigm.environments.players import NoisyPlayer
from paradigm.environments.protocol import Environment, EnvironmentFault, Observation, Step
from paradigm.environments.single_turn import SingleTurn, from_verifier
from paradigm.environments.versus import Versus
from paradigm.environments.worked_problems import Problem, WorkedProblems
from paradigm.environments.workers import Workers

__all__ = [
    "Arithmetic",
    "ArithmeticLabel",
    "BM25Search",
    "Code",
    "ConnectFour",
    "Dialogues",
    "Documents",
    "Environment",
    "EnvironmentFault",
    "Gymnasium",
    "Metamath",
    "MiniWoB",
    "Mixture",
    "NoisyPlayer",
    "Observation",
    "OpenSpiel",
    "PettingZoo",
    "Problem",
    "SingleTurn",
    "Step",
    "Versus",
    "WorkedProblems",
    "Workers",
    "arithmetic_classify",
    "arithmetic_result_positions",
    "arithmetic_split",
    "arithmetic_tasks",
    "arithmetic_text",
    "from_verifier",
    "metamath_split",
    "minigrid",
    "minigrid_text",
    "propositional_theory",
]
