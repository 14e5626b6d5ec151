"""One step of a policy that decodes: feeds it what the core plans, and draws tokens.

A step is launched, and its results are taken later: on a GPU other steps may be launched and planned meanwhile. A step that was planned while
another was out (`is_ahead`) is fed tokens that the other draws, which are gathered where the policy is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paradigm import _core
from paradigm.kernels.cpu_slots import runs_triton
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.linear import packed_linear
from paradigm.kernels.linear_logprob import chunks, linear_logprob, row_statistics, wide
from paradigm.kernels.linear_sample_token import linear_sample_token
from paradigm.kernels.shared_prefixes import SharedPrefixes
from paradigm.timeline import span

__all__ = ["Planned", "PolicyStep", "Results"]

# T tokens, B sequences, R sampling rows, Q probes of a step; D model width, V vocabulary

_FED = ("tokens", "source", "positions", "cu_seqlens", "context_lengths", "slots", "sample_rows", "probe_rows", "probe_targets",
        "probe_temperature", "probe_ask", "shared_tokens", "shared_cuts", "shared_splits", "block_table")  # fmt: skip
_DRAWN_BY = ("temperature", "top_k", "top_p", "min_p", "key", "trajectory", "position", "support_row")
_FILTERS = ("top_k", "top_p", "min_p")
_SIGNED = {"key": np.int64, "trajectory": np.int64, "position": np.int32}  # as `sample_token` takes the bits of unsigned numbers


class Planned(NamedTuple):
    """A plan of the core's: which of the policy's two sets of buffers it stands in, and how much of them it fills."""

    number: int
    num_tokens: int
    num_sequences: int
    num_rows: int
    num_riding: int  # of the rows: draws from where another row does
    num_probes: int
    is_ahead: bool  # planned while another was out


class Results(NamedTuple):
    """What a step drew, on the host, valid until the next step but one is launched."""

    ids: NDArray[np.int32]  # [R]
    logprobs: NDArray[np.float32]  # [R]
    kept_logmass: NDArray[np.float32]  # [R]
    probed: NDArray[np.float32] | None  # [Q]; None: there are no probes


class PolicyStep:
    """Runs plans of any shape, on any device, one operation after the other.

    Args:
        policy, cache: as `paradigm.sampler.Sampler` has them; None without a cache.
        is_exact: whether logits are to be independent of what else is in the step.
    """

    def __init__(self, policy: Any, cache: PagedCache | None, *, is_exact: bool):
        self._policy, self._cache, self._is_exact = policy, cache, is_exact
        self._device: torch.device = policy.head_weight.device
        self._takes_rows = hasattr(policy, "decoding")
        self._split = _split_of(policy, cache)
        self._swapped: dict[int, tuple[Tensor, Tensor]] = {}  # by slot, on the host
        self.evaluations: dict[int, tuple[Tensor, float | None]] = {}  # by question: logits float32 [V], value
        self.take_weights()

    def take_weights(self) -> None:
        """Prepares the head for the policy's weights as they are now."""
        weight: Tensor = self._policy.head_weight.detach()
        if self._is_exact:
            self._logits = packed_linear(weight, widen=True)
        else:
            head = wide(weight)
            self._logits = lambda hidden: nn.functional.linear(hidden.to(head.dtype), head)

    def attach(self, core: Any, number: int) -> None:
        """Takes the views of the core's buffers for policy `number`, which stay valid as long as the core."""
        self._core, self._number = core, number
        self._swapped.clear()
        self.evaluations = {}
        buffers = self._arrays = [core.buffers(number, which) for which in (0, 1)]
        self._views = [{name: torch.from_numpy(arrays[name]) for name in _FED} for arrays in buffers]
        self._addresses = [[arrays[name].ctypes.data for name in _DRAWN_BY] for arrays in buffers]
        self._settings = [
            {name: torch.from_numpy(arrays[name].view(_SIGNED.get(name, arrays[name].dtype))) for name in _DRAWN_BY} for arrays in buffers
        ]
        self._support_table = torch.empty(0, core.support_table().shape[1], dtype=torch.int32, device=self._device)
        num_rows, is_pinned = len(buffers[0]["sample_rows"]), self._device.type == "cuda"
        # ids, log-probs and kept mass of the last step in each set of buffers, on the host
        self._drawn = [
            tuple(torch.empty(num_rows, dtype=dtype, pin_memory=is_pinned) for dtype in (torch.int32, torch.float32, torch.float32)) for _ in (0, 1)
        ]
        self._ids = torch.zeros(num_rows, dtype=torch.int32, device=self._device)  # drawn by the step launched last
        self._copied: list[Callable[[], None] | None] = [None, None]  # what waits for the results
        self._probed: list[NDArray[np.float32] | None] = [None, None]

    def launch(self, planned: Planned) -> None:
        """Runs a plan; on a GPU, nothing waits for it, probes apart."""
        num_rows, num_probes = planned.num_rows, planned.num_probes
        self._swap()
        views = self._views[planned.number]
        rows, probed = views["sample_rows"][:num_rows], None
        with span("decode" if planned.num_tokens == planned.num_sequences else "prefill", "rollout"):
            if num_probes or planned.num_riding:
                wanted, places = torch.cat([rows, views["probe_rows"][:num_probes]]).unique(return_inverse=True)
                hidden = self._forward(planned, wanted).index_select(0, places.to(self._device))
                probed = self._probe(hidden[num_rows:], views, num_probes) if num_probes else None
                hidden = hidden[:num_rows]
            else:
                hidden = self._forward(planned, rows)
        self._probed[planned.number] = probed
        if num_rows > 0:
            with span("draw", "rollout"):
                self._draw(hidden, planned)

    def results(self, planned: Planned) -> Results:
        """Waits for what a plan that was launched drew.

        Raises: ValueError if a policy's logits were NaN or +inf.
        """
        number, num_rows = planned.number, planned.num_rows
        if (wait := self._copied[number]) is not None:
            wait()
        ids, logprobs, kept_logmass = (values[:num_rows].numpy() for values in self._drawn[number])
        if num_rows and int(ids.min()) < 0:
            raise ValueError("logits must be below +inf and not NaN for legal tokens, one of them above -inf, got a row where they are not")
        return Results(ids, logprobs, kept_logmass, self._probed[number])

    def _swap(self) -> None:
        """Does with the cache what the plan asks for."""
        if self._cache is not None and (swaps := self._core.take_swaps(self._number)):
            self._copy_blocks(self._cache, swaps)

    def _copy_blocks(self, cache: PagedCache, swaps: list[tuple[str, int, list[int]]]) -> None:
        """Copies blocks out of the cache, back, and within it; the last as many at once as do not meet."""
        copies: dict[int, int] = {}  # within the cache: source by destination
        for kind, slot, blocks in swaps:
            if copies and (kind != "copy" or not copies.keys().isdisjoint(blocks)):
                self._copy_within(cache, copies)
                copies = {}
            if kind == "copy":
                copies[blocks[1]] = blocks[0]
            elif kind == "out":
                at = torch.tensor(blocks, device=self._device)
                self._swapped[slot] = cache.keys[:, at].cpu(), cache.values[:, at].cpu()
            elif kind == "in":
                at = torch.tensor(blocks, device=self._device)
                keys, values = (copy[:, : len(blocks)].to(self._device) for copy in self._swapped.pop(slot))
                cache.keys[:, at], cache.values[:, at] = keys, values
            elif kind == "fork":
                self._swapped[slot] = self._swapped[blocks[0]]
            else:
                del self._swapped[slot]
        if copies:
            self._copy_within(cache, copies)

    def _copy_within(self, cache: PagedCache, copies: dict[int, int]) -> None:
        to, source = (torch.tensor(list(blocks), device=self._device) for blocks in (copies.keys(), copies.values()))
        for blocks in (cache.keys, cache.values):
            blocks.index_copy_(1, to, blocks.index_select(1, source))

    def _share_prefixes(self) -> tuple[int, int, int]:
        """Has the core look in the plan last made for blocks that attention can read once. Returns: tokens and groups of who shares, most splits."""
        return self._core.share_prefixes(self._number, self._split) if self._split else (0, 0, 0)

    def _has_filters(self, planned: Planned) -> bool:
        """Whether a row is to be drawn with top-k, top-p or min-p. Others are drawn to the same bits either way."""
        top_k, top_p, min_p = (self._arrays[planned.number][name][: planned.num_rows] for name in _FILTERS)
        return bool((top_k > 0).any() or (top_p < 1).any() or (min_p > 0).any())

    def _tokens(self, planned: Planned) -> Tensor:
        views = self._views[planned.number]
        tokens = views["tokens"][: planned.num_tokens].to(self._device)
        if not planned.is_ahead:
            return tokens
        source = views["source"][: planned.num_tokens].to(self._device)
        return torch.where(source >= 0, self._ids[source.clamp(min=0).long()], tokens)

    def _forward(self, planned: Planned, rows: Tensor) -> Tensor:
        """Hidden states of the rows that are wanted, int32 [R], ascending."""
        views, device, num_sequences = self._views[planned.number], self._device, planned.num_sequences
        num_shared, num_groups, most = self._share_prefixes()
        shared = (views["shared_tokens"][:num_shared], views["shared_cuts"][: num_groups + 1], views["shared_splits"][:num_sequences])
        layout = Layout.paged(
            views["cu_seqlens"][: num_sequences + 1].to(device), views["positions"][: planned.num_tokens].to(device),
            views["context_lengths"][:num_sequences].to(device), views["slots"][:num_sequences].to(device),
            views["block_table"].to(device), self._cache,  # type: ignore[arg-type]  # a policy without a cache does not look
            prefixes=SharedPrefixes(*shared, most).to(device) if most else None,
        )
        tokens, rows = self._tokens(planned), rows.to(device)
        if len(rows) == planned.num_tokens:
            return self._policy(tokens, layout)
        if self._takes_rows:
            return self._policy(tokens, layout, rows=rows)
        return self._policy(tokens, layout).index_select(0, rows)

    def _probe(self, hidden: Tensor, views: dict[str, Tensor], num_probes: int) -> NDArray[np.float32]:
        """Log-probs [Q] of the targets that were asked for; 0 where the distribution itself is, which is put by for whoever asked."""
        logprobs = torch.zeros(num_probes)
        targets, temperature = (views[name][:num_probes] for name in ("probe_targets", "probe_temperature"))
        is_scored = targets >= 0
        vocab_size = self._policy.head_weight.shape[0]
        for value in temperature[is_scored].unique().tolist():
            rows = (is_scored & (temperature == value)).nonzero()[:, 0]
            states, wanted = hidden[rows.to(self._device)], targets[rows].to(self._device)
            if states.is_cpu:  # by the head that is packed already: the same bits
                parts = [row_statistics(self._logits(states[c]).float(), wanted[c], value, None)[0] for c in chunks(len(rows), vocab_size)]
                logprobs[rows] = torch.cat(parts)
            else:
                logprobs[rows] = linear_logprob(states, self._policy.head_weight, wanted, temperature=value)[0].cpu()
        heads = getattr(self._policy, "heads", {})
        for row in (~is_scored).nonzero()[:, 0].tolist():
            state = hidden[row : row + 1]
            value = float(heads["value"](state)[0]) if "value" in heads else None
            self.evaluations[int(views["probe_ask"][row])] = self._logits(state)[0].float().cpu(), value
        return logprobs.numpy()

    def _draw(self, hidden: Tensor, planned: Planned) -> None:
        (self._draw_on_host if hidden.is_cpu else self._draw_on_device)(hidden, planned)

    def _draw_on_host(self, hidden: Tensor, planned: Planned) -> None:
        scores = self._logits(hidden).float().contiguous()
        table, drawn = self._core.support_table(), self._drawn[planned.number]
        _core.sample_token_raw(
            scores.data_ptr(), planned.num_rows, scores.shape[1], scores.stride(0), *self._addresses[planned.number], table.ctypes.data, *table.shape,
            *(values.data_ptr() for values in drawn), torch.get_num_threads(),
        )
        self._ids[: planned.num_rows].copy_(drawn[0][: planned.num_rows])

    def _supports(self) -> Tensor:
        """The sets of legal tokens, int32 [at least as many as the core has, W], where the policy is."""
        table = self._core.support_table()
        if len(table) > len(self._support_table):  # sets are only ever added
            added = torch.from_numpy(table[len(self._support_table) :].view(np.int32))
            self._support_table = torch.cat([self._support_table, added.to(self._device)])
        return self._support_table

    def _draw_on_device(self, hidden: Tensor, planned: Planned) -> None:
        """Logits and sets of legal tokens stay where the policy is; three numbers a row come back."""
        num_rows, table = planned.num_rows, self._supports()
        left_out = () if self._has_filters(planned) else _FILTERS
        settings = {name: x[:num_rows].to(self._device) for name, x in self._settings[planned.number].items() if name not in left_out}
        rows = settings.pop("support_row")
        drawn = linear_sample_token(hidden, self._policy.head_weight, support=(rows, table) if len(table) else None, **settings)
        self._ids[:num_rows].copy_(drawn[0])
        for values, result in zip(self._drawn[planned.number], drawn):
            values[:num_rows].copy_(result, non_blocking=True)
        if hidden.is_cuda:
            copied = torch.cuda.Event()
            copied.record()
            self._copied[planned.number] = copied.synchronize


def _split_of(policy: Any, cache: PagedCache | None) -> int:
    """Tokens that attention reads at a time where it can read blocks once for all who share them; 0: it cannot."""
    if cache is None or not runs_triton(policy.head_weight):
        return 0
    from paradigm.kernels.paged_attention_triton import SPLIT  # Triton takes a second to import

    return 0 if SPLIT % cache.block_size else SPLIT
