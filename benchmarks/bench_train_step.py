"""One training step, forward, backward and AdamW, on packed documents of one length; against transformers' model and torchtitan's with torch's
fused AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Case, Contestant, Setting, fastest
from benchmarks.models import QUICKSTART, SMALL, describe, make_policy, to_transformers

SUMMARY = "a training step of 8,192 tokens, quickstart's model and a 2.4M one, 50- and 512-token documents, against transformers and fused AdamW"
RIVALS = {"transformers": "transformers>=5", "torchtitan": "torchtitan>=0.3"}

_UNFAIR = (
    "To transformers: no torch.compile, which on a GPU our layers go through; torchtitan's model has the faster of its blocks compiled or not. To "
    "paradigm: in bf16 it keeps fp32 master weights and optimizer state and sums gradients in fp32, where the rivals' weights and state are bf16; it "
    "also computes each row's entropy and the metrics, and guards against non-finite values. Documents have one length so that transformers need not "
    "pad; with real lengths it would. All clip the gradient's global norm to 1."
)


def cases(setting: Setting) -> Iterator[Case]:
    tokens = 1024 if setting.quick else 8192
    jobs = [(shape, length, dtype) for shape in (QUICKSTART, SMALL) for length in (50, 512) for dtype in ("float32", "bfloat16")]
    for shape, length, dtype in jobs[:3] if setting.quick else jobs:
        documents = torch.randint(shape["vocab_size"], (tokens // length, length), generator=torch.Generator().manual_seed(length))
        # on a CPU float8 products are only emulated
        on_gpu = torch.device(setting.device).type == "cuda" and dtype == "bfloat16"
        fp8 = {"paradigm, fp8 products": _ours(shape, dtype, documents, setting.device, fp8=True)} if on_gpu else {}
        num_parameters = sum(p.numel() for p in make_policy(shape, dtype, "meta").parameters())
        yield Case(
            op="train step", shape=f"{num_parameters / 1e6:.1f}M, {documents.numel()} tokens in documents of {length}", dtype=dtype,
            config=describe(shape), unit="tok/s", work=documents.numel(), cost=2.0 * num_parameters * 3, ceiling=f"matmul {dtype}",
            providers={
                "paradigm": _ours(shape, dtype, documents, setting.device),
                **fp8,
                "transformers": _transformers(shape, dtype, documents, setting.device),
                "torchtitan": _torchtitan(shape, dtype, documents, setting.device),
            },
            reference="transformers", packages=("transformers", "torchtitan"), unfair=_UNFAIR,
            prediction="paradigm faster on 50-token documents, where a step is many small operations; near parity on 512",
        )  # fmt: skip


def _packed(documents: torch.Tensor, device: torch.device | str) -> Any:
    from paradigm.batch import PackedBatch
    from paradigm.trajectory import Trajectory

    trajectories = [Trajectory.from_arrays(row.numpy().astype(np.int32)) for row in documents]
    (batch,) = PackedBatch.pack(trajectories, max_tokens=documents.numel(), rows="all", ce=1.0)
    return batch.to(device)


def _ours(shape: dict[str, Any], dtype: str, documents: torch.Tensor, device: str, fp8: bool = False) -> Callable[[], Contestant]:
    def build() -> Contestant:
        from paradigm.learner import Learner
        from paradigm.objective import CrossEntropy

        policy = make_policy(shape, dtype, device)
        try:
            policy.fp8 = fp8
        except ValueError as error:  # an older device
            raise ImportError(str(error)) from error
        learner, batch = Learner(policy, learning_rate=1e-3), _packed(documents, device)

        def run() -> None:
            learner.forward_backward(batch, CrossEntropy())
            learner.step()

        return Contestant(run)

    return build


def _transformers(shape: dict[str, Any], dtype: str, documents: torch.Tensor, device: str) -> Callable[[], Contestant]:
    def variant(attention: str) -> Callable[[], Callable[[], None]]:
        def build() -> Callable[[], None]:
            model = to_transformers(make_policy(shape, dtype, device), attention).train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
            tokens = documents.to(device)

            def run() -> None:
                model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()

            return run

        return build

    return lambda: fastest({"sdpa": variant("sdpa"), "eager": variant("eager")})


def _torchtitan(shape: dict[str, Any], dtype: str, documents: torch.Tensor, device: str) -> Callable[[], Contestant]:
    def variant(compiled: bool) -> Callable[[], Callable[[], None]]:
        def build() -> Callable[[], None]:
            from benchmarks.torchtitan_peer import document_loss, to_torchtitan

            if torch.device(device).type == "cpu":
                raise ImportError("torchtitan's model does not train on a CPU: FlexAttention has no backward there")
            policy = make_policy(shape, dtype, device)
            model = to_torchtitan(policy).train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
            tokens = documents.reshape(-1).to(device)
            positions = torch.arange(documents.shape[1], device=device).repeat(documents.shape[0])
            _check_loss(policy, documents, document_loss(model, tokens, positions).item())
            if compiled:
                for block in model.layers.values():
                    block.compile()

            def run() -> None:
                document_loss(model, tokens, positions).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()

            return run

        return build

    return lambda: fastest({"flex": variant(False), "flex, blocks compiled": variant(True)})


def _check_loss(policy: Any, documents: torch.Tensor, loss: float) -> None:
    """Raises: RuntimeError unless a rival's mean loss on the same weights is ours but for rounding."""
    own = -float(policy.log_probs(_packed(documents, policy.device)).mean())
    if not abs(own - loss) <= 1e-2 * own:
        raise RuntimeError(f"the losses differ: {own} and {loss}")
