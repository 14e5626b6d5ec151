"""Verifiers judge what a policy wrote: a score in [0, 1], the evidence, and never an exception."""

from paradigm.verifiers.arithmetic import verify_arithmetic
from paradigm.verifiers.verdict import Verdict

__all__ = ["Verdict", "verify_arithmetic"]
