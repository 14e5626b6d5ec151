"""Verifiers judge what a policy wrote: a score in [0, 1], the evidence, and never an exception."""

from paradigm.verifiers.arithmetic import verify_arithmetic
from paradigm.verifiers.citation import CitationTask, CitationVerifier, Span
from paradigm.verifiers.code import CaseOutcome, CodeJudgement, CodeVerifier
from paradigm.verifiers.code_tasks import CodeTask, FunctionCase, ProgramCase, load_code_tasks
from paradigm.verifiers.mathematics import MathematicsTask, MathematicsVerifier
from paradigm.verifiers.metamath import MetamathDatabase, MetamathError
from paradigm.verifiers.metamath_proof import MetamathLimits, MetamathProof, MetamathVerifier
from paradigm.verifiers.reward_model import RewardModel
from paradigm.verifiers.sandbox import Sandbox, SandboxLimits, SandboxResult, SandboxUnavailable
from paradigm.verifiers.verdict import Verdict

__all__ = [
    "CaseOutcome",
    "CitationTask",
    "CitationVerifier",
    "CodeJudgement",
    "CodeTask",
    "CodeVerifier",
    "FunctionCase",
    "MathematicsTask",
    "MathematicsVerifier",
    "MetamathDatabase",
    "MetamathError",
    "MetamathLimits",
    "MetamathProof",
    "MetamathVerifier",
    "ProgramCase",
    "RewardModel",
    "Sandbox",
    "SandboxLimits",
    "SandboxResult",
    "SandboxUnavailable",
    "Span",
    "Verdict",
    "load_code_tasks",
    "verify_arithmetic",
]
