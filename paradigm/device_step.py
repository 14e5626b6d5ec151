"""A policy's step on a GPU: captured once for each size of step, replayed as one launch.

A graph holds the whole step, from the ids of the tokens to drawn tokens and log-probs, over buffers that keep their place:

    upload (one copy) -> [write changes into the block table, gather the tokens that the step before draws, embed, layers, final norm, rows to draw
    from, head and draw] -> copy back (one copy, behind which an event stands)

Sizes are rounded up. What pads a step are tokens of no sequence, whose keys and values are written nowhere, sequences without tokens, groups of
none that share a prefix, and draws that nobody looks at. Nothing inside waits for the device, and grids follow from the padded shapes, so a row's
bits are those of the plain step. Steps that no graph serves (questions, more tokens than the largest graph, policies that may do anything) run as
`PolicyStep` has them.

Nothing here has run on a GPU yet. On the CPU, tests record the step's operations and repeat them over the same buffers, late
(tests/test_device_step.py).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.linear_sample_token import linear_sample_token
from paradigm.kernels.shared_prefixes import SharedPrefixes
from paradigm.policy import Policy
from paradigm.policy_step import Planned, PolicyStep
from paradigm.timeline import span

__all__ = ["CudaDevice", "Device", "DeviceStep"]

# T tokens, B sequences and sampling rows of a padded step, C changes of the block table, S cache slots

_LARGEST = 512  # tokens that graphs go up to, or as many as there are slots: beyond, launches cost little beside the work
_MIN_SETS = 64  # of legal tokens, which the device's table has room for at first


class Device(Protocol):
    """What a step asks of its device beyond tensors. Uploads, replays and copies back happen in the order of the calls."""

    def pinned(self, num_words: int) -> Tensor:
        """int32 [num_words] on the host, which can be copied from and to without waiting."""

    def upload(self, target: Tensor, source: Tensor) -> None:
        """Copies from the host without waiting; `source` must stay as it is until a later `copy_back` is waited for."""

    def capture(self, prepare: Callable[[], None], run: Callable[[], None]) -> Callable[[], None]:
        """Runs `prepare`, then `run` until whatever is made but once has been made, and captures it. Returns: what runs the captured again."""

    def copy_back(self, target: Tensor, source: Tensor) -> Callable[[], None]:
        """Copies to the host without waiting. Returns: what waits for it, and for all before it."""


class CudaDevice:
    """A CUDA device, by way of its current stream. The graphs share one pool: none leaves anything in it."""

    def __init__(self, device: torch.device):
        self._device = device
        self._pool: Any = None

    def pinned(self, num_words: int) -> Tensor:
        return torch.zeros(num_words, dtype=torch.int32, pin_memory=True)

    def upload(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source, non_blocking=True)

    def capture(self, prepare: Callable[[], None], run: Callable[[], None]) -> Callable[[], None]:
        prepare()
        current, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(2):  # compiles kernels, makes tables and flags, takes workspaces
                run()
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # other threads may use the device meanwhile
            run()
        self._pool = graph.pool()
        return graph.replay  # type: ignore[no-any-return]

    def copy_back(self, target: Tensor, source: Tensor) -> Callable[[], None]:
        target.copy_(source, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return event.synchronize


class _Field(NamedTuple):
    num_words: int  # of 32 bits
    dtype: torch.dtype
    padding: int
    counts: str  # what there is one of for each


class _Shape(NamedTuple):
    """Of a graph's step. Everything that decides which operations it holds is here."""

    num_tokens: int  # T
    num_sequences: int  # B
    num_changes: int  # C
    is_filtered: bool  # whether a row may have top-k, top-p or min-p
    has_support: bool  # whether a row may have a set of legal tokens
    most_shared: int  # splits that sequences may share, see `shared_prefixes`; 0: none do

    def fields(self) -> dict[str, _Field]:
        """By name, what is uploaded. Fields of 64 bits come first, where they are aligned."""
        tokens, rows, changes = self.num_tokens, self.num_sequences, self.num_changes
        shared = {
            "shared_tokens": _Field(tokens, torch.int32, 0, "shared_tokens"),
            "shared_cuts": _Field(rows // 2 + 1, torch.int32, 0, "shared_cuts"),
            "shared_splits": _Field(rows, torch.int32, 0, "sequences"),
        }
        return {
            **{name: _Field(2 * rows, torch.int64, 0, "rows") for name in ("key", "trajectory")},
            **{name: _Field(tokens, torch.int32, 0, "tokens") for name in ("tokens", "positions")},
            "source": _Field(tokens, torch.int32, -1, "tokens"),
            "cu_seqlens": _Field(rows + 1, torch.int32, 0, "cuts"),
            **{name: _Field(rows, torch.int32, 0, "sequences") for name in ("context_lengths", "slots")},
            **{name: _Field(rows, torch.int32, 0, "rows") for name in ("sample_rows", "position", "top_k")},
            "support_row": _Field(rows, torch.int32, -1, "rows"),
            **{name: _Field(rows, torch.float32, 1, "rows") for name in ("temperature", "top_p")},
            "min_p": _Field(rows, torch.float32, 0, "rows"),
            **{name: _Field(changes, torch.int32, 0, "changes") for name in ("changed", "blocks")},
            **(shared if self.most_shared else {}),
        }  # fmt: skip

    def views(self, words: Tensor) -> dict[str, Tensor]:
        """The fields in a buffer, int32 [at least num_words]."""
        views, start = {}, 0
        for name, field in self.fields().items():
            views[name] = words[start : start + field.num_words].view(field.dtype)
            start += field.num_words
        return views

    @property
    def num_words(self) -> int:
        return sum(field.num_words for field in self.fields().values())


class _Graph(NamedTuple):
    shape: _Shape
    staged: Sequence[dict[str, NDArray[Any]]]  # by the plan's buffers: what is uploaded, on the host
    replay: Callable[[], None]


def sizes(largest: int) -> list[int]:
    """Numbers of tokens that steps are rounded up to: 1, 2, 3, 4, 6, 8, 12, ..., `largest`; a step is at most half as large again."""
    doubling = [2**i for i in range(largest.bit_length())]
    return sorted({size for double in doubling for size in (double, double * 3 // 2) if size < largest} | {largest})


class DeviceStep(PolicyStep):
    """Runs plans by graphs where it can.

    Args:
        policy: its forward must not wait for the device.
        cache, is_exact: as of `PolicyStep`.
        slots, max_step_tokens: the most of them that a core may be told for the policy.
        max_blocks: of a sequence in the core's block tables.
        device: what uploads, captures and copies back.
    """

    def __init__(
        self, policy: Policy, cache: PagedCache, *, is_exact: bool, slots: int, max_step_tokens: int, max_blocks: int, device: Device
    ):  # fmt: skip
        self._graphs: dict[_Shape, _Graph] = {}
        self._memory: tuple[int, ...] = ()
        super().__init__(policy, cache, is_exact=is_exact)
        self._on, self._paged, self._slots = device, cache, slots
        self._sizes = sizes(max(slots, min(max_step_tokens, _LARGEST)))  # a row for every slot, even if not a token
        largest = self._shape(self._sizes[-1], is_filtered=True, has_support=True, most_shared=1)
        self._inputs = torch.zeros(largest.num_words, dtype=torch.int32, device=self._device)
        self._staging = [device.pinned(largest.num_words) for _ in (0, 1)]
        self._results = torch.zeros(3, slots, dtype=torch.int32, device=self._device)
        self._packed = [device.pinned(self._results.numel()).view_as(self._results) for _ in (0, 1)]
        # the last entry takes what pads the changes
        self._table = torch.zeros(slots * max_blocks + 1, dtype=torch.int32, device=self._device)
        self._block_table = self._table[:-1].view(slots, max_blocks)
        self._whole_tables = [device.pinned(slots * max_blocks) for _ in (0, 1)]
        words = -(-policy.head_weight.shape[0] // 32)
        self._legal_sets = torch.zeros(_MIN_SETS, words, dtype=torch.int32, device=self._device)
        # held, for graphs read it where it was made, and a longer table takes its place for others
        self._rotary = policy.rotary.reserve(policy.config.max_position_embeddings, self._device)

    def take_weights(self) -> None:
        super().take_weights()
        memory = tuple(tensor.data_ptr() for tensor in (*self._policy.parameters(), *self._policy.buffers()))
        if memory != self._memory:  # weights that changed in place are read from where they were
            self._graphs.clear()
        self._memory = memory

    def attach(self, core: Any, number: int) -> None:
        super().attach(core, number)
        self._flat_table: NDArray[np.int32] = self._arrays[0]["block_table"].reshape(-1)
        core.take_table_changes(number)  # from now on they are kept
        self._num_sets = 0
        self._drawn = [(words[0], words[1].view(torch.float32), words[2].view(torch.float32)) for words in self._packed]
        self._ids = self._results[0]

    def launch(self, planned: Planned) -> None:
        """Replays the graph of the plan's size, which is captured if it is the first such; or runs the plan operation by operation."""
        if planned.num_probes or max(planned.num_tokens, planned.num_rows) > self._sizes[-1]:
            super().launch(planned)
            return
        self._swap()
        number = planned.number
        with span("decode" if planned.num_tokens == planned.num_sequences else "prefill", "rollout"):
            num_shared, num_groups, most = self._share_prefixes()
            graph = self._graph(planned, most)
            self._fill(graph, planned, {"shared_tokens": num_shared, "shared_cuts": num_groups + 1})
            num_words = graph.shape.num_words
            self._on.upload(self._inputs[:num_words], self._staging[number][:num_words])
            graph.replay()
        self._probed[number] = None
        self._copied[number] = self._on.copy_back(self._packed[number], self._results)

    def _shape(self, num_tokens: int, *, is_filtered: bool, has_support: bool, most_shared: int) -> _Shape:
        num_sequences = min(num_tokens, self._slots)
        # what sequences grow by, each by a block more than its tokens fill; prompts that are taken over may need more, see _fill
        return _Shape(num_tokens, num_sequences, num_sequences + num_tokens // self._paged.block_size, is_filtered, has_support, most_shared)

    def _graph(self, planned: Planned, most: int) -> _Graph:
        arrays = self._arrays[planned.number]
        has_support = bool((arrays["support_row"][: planned.num_rows] >= 0).any())
        if has_support:
            self._supports()
        size = self._sizes[bisect.bisect_left(self._sizes, max(planned.num_tokens, planned.num_rows))]  # more rows than tokens where some ride
        # a power of two, so that graphs are few; 0 where most programs of a grid for so many would find nothing to read (a guess, not measured)
        is_worth_it = most > 0 and 4 * int(arrays["shared_splits"][: planned.num_sequences].sum()) >= planned.num_sequences * most
        most_shared = 1 << (most - 1).bit_length() if is_worth_it else 0
        shape = self._shape(size, is_filtered=self._has_filters(planned), has_support=has_support, most_shared=most_shared)
        if shape not in self._graphs:
            self._graphs[shape] = self._capture(shape)
        return self._graphs[shape]

    def _supports(self) -> Tensor:
        """As of `PolicyStep`, in a table with room to grow; a larger one is another's, which no graph has."""
        table = self._core.support_table()
        if len(table) > len(self._legal_sets):
            self._legal_sets = self._legal_sets.new_zeros(2 * len(table), table.shape[1])
            self._graphs = {shape: graph for shape, graph in self._graphs.items() if not shape.has_support}
            self._num_sets = 0
        if len(table) > self._num_sets:  # sets are only ever added
            self._legal_sets[self._num_sets : len(table)].copy_(torch.from_numpy(table[self._num_sets :].view(np.int32)))
            self._num_sets = len(table)
        return self._legal_sets

    def _fill(self, graph: _Graph, planned: Planned, shared: dict[str, int]) -> None:
        """Stages a plan: copies what there is of each field, and pads it."""
        number, arrays, staged = planned.number, self._arrays[planned.number], graph.staged[planned.number]
        changed = self._core.take_table_changes(self._number)
        if len(changed) > graph.shape.num_changes:
            whole = self._whole_tables[number][: len(self._flat_table)]
            whole.numpy()[:] = self._flat_table
            self._on.upload(self._table[: len(whole)], whole)
            changed = changed[:0]
        counts = {
            "tokens": planned.num_tokens, "sequences": planned.num_sequences, "cuts": planned.num_sequences + 1, "rows": planned.num_rows, **shared
        }  # fmt: skip
        for name, field in graph.shape.fields().items():
            target = staged[name]
            if name in ("changed", "blocks"):
                count = len(changed)
                target[:count] = changed if name == "changed" else self._flat_table[changed]
            else:
                count = counts[field.counts]
                target[:count] = arrays[name][:count].view(target.dtype)
            target[count:] = field.padding
        staged["cu_seqlens"][counts["cuts"] :] = planned.num_tokens
        staged["changed"][len(changed) :] = len(self._table) - 1
        if graph.shape.most_shared:
            staged["shared_cuts"][counts["shared_cuts"] :] = counts["shared_tokens"]

    def _capture(self, shape: _Shape) -> _Graph:
        fed, results = shape.views(self._inputs), self._results
        policy, cache, block_table = self._policy, self._paged, self._block_table
        support = (fed["support_row"], self._legal_sets) if shape.has_support else None
        filters: dict[str, Any] = {name: fed[name] for name in ("top_k", "top_p", "min_p")} if shape.is_filtered else {}
        drawn_by = {name: fed[name] for name in ("temperature", "key", "trajectory", "position")}
        prefixes = None
        if shape.most_shared:
            prefixes = SharedPrefixes(fed["shared_tokens"], fed["shared_cuts"], fed["shared_splits"], shape.most_shared)
        drawn_before: list[Tensor] = []

        def prepare() -> None:
            """Nobody's tokens: running leaves nothing but draws behind."""
            drawn_before.append(results.clone())
            for name, field in shape.fields().items():
                fed[name].fill_(field.padding)
            fed["changed"].fill_(len(self._table) - 1)

        def run() -> None:
            self._table.index_copy_(0, fed["changed"].long(), fed["blocks"])
            source = fed["source"]
            tokens = torch.where(source >= 0, results[0].index_select(0, source.clamp(min=0)), fed["tokens"])
            layout = Layout.paged(fed["cu_seqlens"], fed["positions"], fed["context_lengths"], fed["slots"], block_table, cache, prefixes=prefixes)
            hidden = policy(tokens, layout, rows=fed["sample_rows"])
            drawn = linear_sample_token(hidden, policy.head_weight, **drawn_by, **filters, support=support)
            for words, values in zip(results, drawn):
                words[: shape.num_sequences].copy_(values.view(torch.int32))

        replay = self._on.capture(prepare, run)
        results.copy_(drawn_before[0])  # the next step may gather from them
        return _Graph(shape, [{name: view.numpy() for name, view in shape.views(words).items()} for words in self._staging], replay)
