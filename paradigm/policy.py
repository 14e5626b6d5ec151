"""The policy: a decoder-only transformer that is Llama, Qwen2 or Qwen3, over packed or paged rows of tokens.

Parameters bear Hugging Face's names and are not fused, so a `state_dict` is a checkpoint's and LoRA finds its modules. Prefill, decode and training
run this one forward. In exact mode projections are `exact_linear`; all else works row by row anyway, so a token's hidden state does not
depend on what else is in the call.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from paradigm.batch import PackedBatch
from paradigm.compiled import compiling
from paradigm.fp8 import check_fp8
from paradigm.kernels.attention import fits_cpu
from paradigm.kernels.layout import Layout, PagedCache
from paradigm.kernels.linear_logprob import linear_logprob, logits
from paradigm.policy_config import PolicyConfig
from paradigm.rope import RotaryTable
from paradigm.transformer import Decoder, Linear, ScalarHead, Step
from paradigm.weights import (
    CONFIG_FILE,
    HEADS_FILE,
    TOKENIZER_FILES,
    read_json,
    read_safetensors,
    read_weights,
    replacing_folder,
    write_json,
    write_safetensors,
    write_weights,
)

__all__ = ["Policy", "PolicyConfig"]

# T tokens, N prediction rows, D model width, V vocabulary

_READABLE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class _Saveable(Protocol):
    def save_pretrained(self, path: Path) -> object: ...


class Policy(nn.Module):
    """A transformer with a language-model head and named scalar heads.

    Args:
        config: its shape.
        seed: key of the initial weights, drawn on the CPU from a generator of their own: the same on every device. None leaves them
            uninitialised, for a caller who loads them.
        device: where the parameters lie.

    New weights are normal(0, initializer_range), projections into the residual stream divided by sqrt(2 num_layers) (Radford et al.,
    2019); biases and scalar heads are zero, norms one.
    """

    recomputed_layers: int
    """So many layers, the first ones, keep only what goes into them for the backward pass, which computes them again: less memory for a forward
    pass more of these layers, and the same gradients, bit for bit in exact mode."""

    def __init__(self, config: PolicyConfig, *, seed: int | None = 0, device: torch.device | str = "cpu"):
        super().__init__()
        with torch.device("meta"):  # nn.Linear initialises itself from the global generator; on meta there is nothing to draw
            self.model = Decoder(config)
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)
            self.heads = nn.ModuleDict({name: ScalarHead(config.hidden_size) for name in config.heads})
        self.config = config
        self.to(config.torch_dtype).to_empty(device=device)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.rotary = RotaryTable(
            head_dim=config.width, theta=config.rope_theta, scaling=config.rope_scaling,
            max_position_embeddings=config.max_position_embeddings, rope_length=config.rope_length,
        )
        self.recomputed_layers = 0
        self._compiled: bool | None = None
        self._fp8 = False
        self._packed: Callable[[Tensor, Layout, Tensor, Tensor, Tensor | None], Tensor] | None = None
        if seed is not None:
            self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.startswith("heads.") or name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                is_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = self.config.initializer_range / (math.sqrt(2 * self.config.num_layers) if is_residual else 1.0)
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, std, generator=generator))

    @property
    def head_weight(self) -> nn.Parameter:
        """The language-model head, [V, D]; the embedding matrix where they are tied."""
        return cast(nn.Parameter, self.lm_head.weight)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.head_weight.device

    @property
    def exact(self) -> bool:
        """Whether a token's hidden state is bitwise the same whatever else is in the call, packed or paged.

        By default on the CPU, in float32 and bfloat16, with heads that the C++ attention takes: a multiple of 8 wide, at most 256.
        """
        exact = cast(Linear, self.lm_head).exact
        if exact is not None:
            return exact
        weight = self.head_weight
        return weight.is_cpu and weight.dtype in (torch.float32, torch.bfloat16) and fits_cpu(self.config.width)

    @exact.setter
    def exact(self, value: bool | None) -> None:
        for module in self.modules():
            if isinstance(module, Linear):
                module.exact = value

    @property
    def compiled(self) -> bool:
        """Whether layers run through torch.compile where a layout is packed: by default in fast mode on CUDA, never in exact mode.

        The first pass then compiles, and raises RuntimeError where that fails. None sets the default.
        """
        return not self.exact and (self.device.type == "cuda" if self._compiled is None else self._compiled)

    @compiled.setter
    def compiled(self, value: bool | None) -> None:
        if value and self.exact:
            raise ValueError("compiled must be False or None in exact mode, whose sums have an order of their own, got True: set exact = False first")
        self._compiled = value

    @property
    def fp8(self) -> bool:
        """Whether the projections of layers take float8 products where a layout is packed: never unless set, nor in exact mode.

        What is sampled, the head, and modules in the place of projections (LoRA's) keep theirs. `log_probs` is as training is, with or without
        gradient, so that ratios of one to the other are not of rounding.
        """
        return self._fp8 and not self.exact

    @fp8.setter
    def fp8(self, value: bool) -> None:
        if value and self.exact:
            raise ValueError("fp8 must be False in exact mode, whose sums have an order of their own, got True: set exact = False first")
        if value:
            check_fp8(self.config, self.head_weight.dtype, self.device)
        self._fp8 = value

    def forward(
        self, tokens: Tensor, layout: Layout, causal: bool | None = None, embeddings: tuple[Tensor, Tensor] | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the final norm.

        Args:
            tokens: int32 or int64 [T], ids of a packed row of documents, or of what the sequences of a paged layout feed now.
            layout: how the T tokens split into documents. A paged layout's cache takes their keys and values.
            causal: whether a token sees only itself and what precedes it in its document; None means yes.
            embeddings: (int64 [P] positions in the row, [P, D] values) that replace the embeddings of placeholder tokens.
            rows: int32 [R], ascending: the only rows of the result that are wanted; None: all. What the others need alone is saved where
                that is possible (while `decoding`).
        Returns: [T, D], or [R, D], in the parameters' dtype. Raises: ValueError if tokens and layout disagree, or a paged layout is not causal.
        """
        causal = True if causal is None else causal
        if tokens.dim() != 1 or tokens.shape[0] != layout.num_tokens:
            raise ValueError(f"tokens must have shape [{layout.num_tokens}], as layout says, got {list(tokens.shape)}")
        if layout.is_paged and not causal:
            raise ValueError("causal must be True with a paged layout, got False")
        packed = self._packed if layout.is_paged and embeddings is None and not torch.is_grad_enabled() else None
        if packed is not None and layout.cache.block_size % 16 == 0:
            return packed(tokens, layout, *self.rotary.tables(layout.positions), rows)
        x = self.model.embed_tokens(tokens)
        if embeddings is not None:
            positions, values = embeddings
            if values.shape != (positions.shape[0], self.config.hidden_size):
                raise ValueError(
                    f"embeddings must be values of shape [{positions.shape[0]}, {self.config.hidden_size}], got {list(values.shape)}"
                )
            x = x.index_copy(0, positions, values.to(x.dtype))
        if not layout.is_paged and self.device.type != "cpu":
            self.rotary.reserve(layout.max_length * (1 if layout.parent is None else 2), self.device)
        cos, sin = self.rotary(layout.positions)
        compiled = not layout.is_paged and layout.num_tokens > 1 and self.compiled  # one token would be a size of its own to the compiler
        build: Literal["auto", "triton"] = "triton" if tokens.is_cuda and self.exact else "auto"  # one order of sums in exact mode
        step = Step(layout, cos, sin, causal, build, compiled, self.fp8 and not layout.is_paged)
        update, residual = x, None
        num_recomputed = self.recomputed_layers if torch.is_grad_enabled() and not layout.is_paged else 0
        with compiling(layout, cos, sin) if compiled else contextlib.nullcontext():
            for number, layer in enumerate(self.model.layers):
                if number < num_recomputed:
                    update, residual = checkpoint(layer, update, residual, step, use_reentrant=False, preserve_rng_state=False)
                else:
                    update, residual = layer(update, residual, step)
        hidden = cast(Tensor, self.model.norm(update, residual)[0])
        return hidden if rows is None else hidden.index_select(0, rows)

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Within it, feeding a paged layout without gradient runs on a packed copy of the layers' weights, taken now: the same bits, faster.

        Where there is no such path (see `Decoder.packed`), nothing changes. Weights must not change within.
        """
        before = self._packed
        if before is None:
            self._packed = self.model.packed()
        try:
            yield
        finally:
            self._packed = before

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of every token, float32 [T, V], accumulated in fp32: what decoding draws from. Training never stores them."""
        return logits(hidden, self.head_weight)

    @torch.no_grad()
    def log_probs(self, batch: PackedBatch) -> Tensor:
        """Log-probability of each prediction row's target at the batch's temperature, over the row's legal tokens.

        Returns: float32 [N], without gradient.
        """
        hidden = self(batch.tokens, batch.layout)[batch.position]
        support = None if batch.support is None or batch.support_table is None else (batch.support, batch.support_table)
        return linear_logprob(hidden, self.head_weight, batch.target, temperature=batch.temperature, support=support)[0]

    def new_cache(self, num_blocks: int, block_size: int = 16) -> PagedCache:
        """An empty key-value cache for this policy, in its dtype, on its device."""
        config = self.config
        return PagedCache(
            config.num_layers, num_blocks, config.kv_heads, config.width,
            block_size=block_size, dtype=self.head_weight.dtype, device=self.device,
        )

    def flops(self, num_tokens: int, context: Layout | float, *, num_predictions: int | None = None, backward: bool = False) -> int:
        """Useful floating-point operations of a forward pass: two per weight and token, and attention's products.

        Args:
            num_tokens: tokens fed.
            context: a packed layout, or the mean number of keys that a token attends to. Under a causal mask only the half below the
                diagonal counts, of whatever document precedes (`layout.parent`) all; a sliding window's layers count their window. With a mean
                they count the least of the two, which is too much where some tokens lie within the window.
            num_predictions: rows that the language-model head predicts; all tokens by default. The embedding's look-up costs nothing.
            backward: count the backward pass too, twice the forward's.
        """
        config = self.config
        projections = config.hidden_size * config.width * 2 * (config.num_heads + config.kv_heads)
        weights = config.num_layers * (projections + 3 * config.hidden_size * config.intermediate_size)
        head = config.vocab_size * config.hidden_size * (num_tokens if num_predictions is None else num_predictions)
        windows = Counter(config.window(layer) for layer in range(config.num_layers))
        pairs = sum(count * _num_pairs(num_tokens, context, window) for window, count in windows.items())
        forward = 2 * weights * num_tokens + 2 * head + 4 * config.num_heads * config.width * pairs
        return round(forward) * (3 if backward else 1)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None, *, heads: Sequence[str] | None = None
    ) -> Policy:
        """Open a local Hugging Face folder: config.json and safetensors, whole or in shards.

        Args:
            path: the folder.
            device: where the parameters go.
            dtype: their type; None keeps the file's (that of the embeddings, if several).
            heads: scalar heads to have; those that the folder lacks start at zero. None means those in the folder.
        Raises: ValueError naming the file or tensor for a missing, truncated or damaged file, pickled weights, another architecture, and
            missing, unexpected or misshapen tensors.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ValueError(f"path must be a folder with config.json and model.safetensors, got {folder}")
        try:
            config = PolicyConfig.from_hugging_face(read_json(folder / CONFIG_FILE))
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        tensors: dict[str, tuple[str, Tensor]] = {}
        for file, name, tensor in read_weights(folder):
            if not name.endswith("rotary_emb.inv_freq"):  # old Llama checkpoints carry what config.json already says
                tensors[name] = (file, tensor)
        saved_heads = config.heads
        if saved_heads:
            tensors.update({name: (HEADS_FILE, tensor) for name, tensor in read_safetensors(folder / HEADS_FILE)})
        wanted = saved_heads if heads is None else tuple(heads)
        for name in set(saved_heads) - set(wanted):
            for part in ("weight", "bias"):
                tensors.pop(f"heads.{name}.{part}", None)
        if dtype is None and "model.embed_tokens.weight" in tensors:
            dtype = tensors["model.embed_tokens.weight"][1].dtype
        dtype_name = config.dtype if dtype is None else str(dtype).removeprefix("torch.")
        config = dataclasses.replace(config, heads=wanted, dtype=dtype_name)
        origins = {name: f"{folder / file}" for name, (file, _) in tensors.items()}
        fresh = set(wanted) - set(saved_heads)
        return cls._filled(config, {name: tensor for name, (_, tensor) in tensors.items()}, device, f"{folder}", origins, fresh)

    @classmethod
    def from_tensors(cls, config: PolicyConfig, tensors: Mapping[str, Tensor], *, device: torch.device | str = "cpu") -> Policy:
        """A policy with the given weights.

        Args:
            config: its shape and dtype.
            tensors: all parameters by Hugging Face's names, of floating-point type; copied.
            device: where the parameters go.
        Raises: ValueError naming a missing, unexpected or misshapen tensor.
        """
        return cls._filled(config, tensors, device, "tensors", {}, set())

    @classmethod
    @torch.no_grad()
    def _filled(
        cls, config: PolicyConfig, tensors: Mapping[str, Tensor], device: torch.device | str,
        source: str, origins: Mapping[str, str], fresh_heads: set[str],
    ) -> Policy:
        policy = cls(config, seed=None, device=device)
        own = dict(policy.named_parameters())
        for name in fresh_heads:
            for part in ("weight", "bias"):
                own.pop(f"heads.{name}.{part}").zero_()
        missing = sorted(own.keys() - tensors.keys())
        if missing:
            raise ValueError(f"{source} must hold {', '.join(missing[:4])}, as the config says; {len(missing)} tensors are missing")
        for name, tensor in tensors.items():
            where = f"{origins[name]}: {name}" if name in origins else name
            is_tied = name == "lm_head.weight" and config.tie_word_embeddings
            parameter = policy.head_weight if is_tied else own.get(name)
            if parameter is None:
                raise ValueError(f"{where} is not a tensor of a {config.family} of this config: was it saved by another architecture?")
            if tensor.dtype not in _READABLE:
                raise ValueError(f"{where} must be of floating-point type, 16 bits or more, got {tensor.dtype} (quantised weights are not read)")
            if parameter.shape != tensor.shape:
                raise ValueError(f"{where} must have shape {list(parameter.shape)}, as the config says, got {list(tensor.shape)}")
            if is_tied and not torch.equal(tensor, tensors["model.embed_tokens.weight"]):
                raise ValueError(f"{where} must equal model.embed_tokens.weight, as tie_word_embeddings says")
            parameter.copy_(tensor)
        return policy

    def save_pretrained(
        self, path: str | Path, *, tokenizer: str | Path | _Saveable | None = None, max_shard_bytes: int = 5 * 10**9,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Write a Hugging Face folder that transformers and vLLM open, in place of an earlier one. A failure leaves the earlier one whole.

        Args:
            path: the folder; new, empty, or a saved model.
            tokenizer: a folder whose tokenizer files to copy, or an object with save_pretrained(path).
            max_shard_bytes: size beyond which the weights are cut into shards.
            weights: what to write in place of this policy's parameters, by the same names: those of a sharded one, gathered.
        Raises: ValueError if `path` holds anything else; OSError if the disk refuses.
        """
        own = dict(self.named_parameters())
        weights = own if weights is None else {name: weights[name] for name in own}
        tensors = {name: tensor for name, tensor in weights.items() if not name.startswith("heads.")}
        heads = {name: tensor for name, tensor in weights.items() if name.startswith("heads.")}
        dtype_name = str(self.head_weight.dtype).removeprefix("torch.")
        with replacing_folder(Path(path)) as folder:
            write_weights(folder, tensors, max_shard_bytes)
            if heads:
                write_safetensors(folder / HEADS_FILE, heads)
            write_json(folder / CONFIG_FILE, dataclasses.replace(self.config, dtype=dtype_name).to_hugging_face())
            if isinstance(tokenizer, (str, Path)):
                for file in TOKENIZER_FILES:
                    if (Path(tokenizer) / file).exists():
                        shutil.copy(Path(tokenizer) / file, folder / file)
            elif tokenizer is not None:
                tokenizer.save_pretrained(folder)


def _num_pairs(num_tokens: int, context: Layout | float, window: int | None) -> float:
    """Query-key pairs of one layer under a causal mask."""
    if not isinstance(context, Layout):
        return num_tokens * (context if window is None else min(context, window))
    if context.is_paged:
        raise ValueError("context must be a packed layout or a number of keys, got a paged layout (its lengths lie on the device)")
    pairs = 0
    for b, length in enumerate(context.lengths):
        parent = -1 if context.parent is None else context.parent[b]
        before = 0 if parent < 0 else context.lengths[parent]
        pairs += _num_causal_pairs(before + length, window) - _num_causal_pairs(before, window)
    return pairs


def _num_causal_pairs(length: int, window: int | None) -> int:
    inside = length if window is None else min(length, window)
    return inside * (inside + 1) // 2 + (length - inside) * inside
