"""Kernels that stand alone for any torch module; each has a `*_reference` in plain torch beside it."""

from paradigm.kernels.attention import attention
from paradigm.kernels.flags import check_flags
from paradigm.kernels.gae import gae
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.linear import exact_linear
from paradigm.kernels.linear_logprob import linear_logprob
from paradigm.kernels.linear_sample_token import linear_sample_token
from paradigm.kernels.paged_attention import paged_attention
from paradigm.kernels.policy_loss import policy_loss
from paradigm.kernels.rms_norm import rms_norm
from paradigm.kernels.rotary import rotary
from paradigm.kernels.sample_token import sample_token
from paradigm.kernels.shared_prefixes import SharedPrefixes, shared_prefixes
from paradigm.kernels.swiglu import swiglu
from paradigm.kernels.vtrace import vtrace

__all__ = [
    "Layout", "PagedCache", "SharedPrefixes", "attention", "check_flags", "exact_linear", "gae", "linear_logprob", "linear_sample_token",
    "paged_attention", "policy_loss", "rms_norm", "rotary", "sample_token", "shared_prefixes", "swiglu", "vtrace",
]
