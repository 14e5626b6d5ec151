"""The weights that an optimizer trains: their float32 masters, their gradients' sums, their moving average, and how all of these are saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from paradigm.checkpoint import check_same_tensors
from paradigm.sharding import fitted

__all__ = ["TrainedWeights"]


class TrainedWeights:
    """Some of a policy's parameters, by name, as an optimizer moves them.

    Args:
        policy: whose parameters they are.
        groups: an optimizer's, or what one is to be made of, of parameters of the policy; they get `moved` in their place.
        ema: decay per step, in (0, 1), of a moving average; None keeps none.
    Attributes:
        moved: what the optimizer moves: of a parameter in bfloat16 or float16 its float32 master, else the parameter itself.
        ema: the moving average, of `moved`'s dtypes, or None. decay: its decay.
    Raises: ValueError if a group has a parameter that is none of the policy's.
    """

    def __init__(self, policy: nn.Module, groups: Sequence[dict[str, Any]], ema: float | None):
        self._policy, self.decay = policy, ema
        names = {id(parameter): name for name, parameter in policy.named_parameters()}
        self._parameters: dict[str, nn.Parameter] = {}
        for parameter in (p for group in groups for p in group["params"]):
            if id(parameter) not in names:
                raise ValueError(f"optimizer must hold parameters of the policy only, got one of shape {list(parameter.shape)} that is none")
            self._parameters[names[id(parameter)]] = parameter
        self.moved: dict[str, Tensor] = {
            name: p.detach().float() if p.dtype in (torch.bfloat16, torch.float16) else p for name, p in self._parameters.items()
        }
        for group in groups:
            group["params"] = [self.moved[names[id(p)]] for p in group["params"]]
        self.ema = None if ema is None else {name: p.detach().clone() for name, p in self.moved.items()}

    @torch.no_grad()
    def sum_gradients(self) -> None:
        """Adds the gradients of parameters that have masters to their masters'."""
        for name, parameter in self._parameters.items():
            moved = self.moved[name]
            if moved is not parameter and parameter.grad is not None:
                moved.grad = parameter.grad.float() if moved.grad is None else moved.grad.add_(parameter.grad)
                parameter.grad = None

    def gradients(self) -> dict[str, Tensor]:
        """Of those that have one."""
        return {name: p.grad for name, p in self.moved.items() if p.grad is not None}

    def clear_gradients(self) -> None:
        """Those of all the policy's parameters."""
        for parameter in (*self.moved.values(), *self._policy.parameters()):
            parameter.grad = None

    def round_masters(self) -> None:
        """What the optimizer has moved becomes the policy's."""
        for name, parameter in self._parameters.items():
            if self.moved[name] is not parameter:
                parameter.copy_(self.moved[name])

    def average(self) -> None:
        """Counts the weights as they are now into the moving average."""
        if self.ema is not None and self.decay is not None:
            get_ema_multi_avg_fn(self.decay)(list(self.ema.values()), [p.detach() for p in self.moved.values()], None)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the policy has the moving average; then its own weights again. Raises: RuntimeError if there is none."""
        if self.ema is None:
            raise RuntimeError("averaged() needs a Learner with ema=decay, got None")
        own = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        try:
            self._set(self.ema)
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])

    def state(self) -> dict[str, Any]:
        """By reference: the policy's weights (parameters, a shared one once, and persistent buffers), masters and average."""
        buffers = self._policy.state_dict().keys() & dict(self._policy.named_buffers())
        weights = {name: p.detach() for name, p in self._policy.named_parameters()}
        weights |= {name: b.detach() for name, b in self._policy.named_buffers() if name in buffers}
        masters = {name: moved for name, moved in self.moved.items() if moved is not self._parameters[name]}
        return {"weights": weights, "masters": masters, "ema": self.ema}

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raises: ValueError if what `state` returned is of another architecture, precision, or set of trained parameters."""
        own = self.state()
        check_same_tensors("policy", own["weights"], state["weights"])
        check_same_tensors("policy's float32 master", own["masters"], state["masters"])
        if (self.ema is None) != (state["ema"] is None):
            raise ValueError(f"ema must be {'None' if state['ema'] is None else 'a decay'}, as in the saved learner, got {self.decay}")
        check_same_tensors("policy's average", self.ema or {}, state["ema"] or {})

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Copies what `state` returned, each rank its own shards of it."""
        for part, own in self.state().items():
            for name, tensor in (own or {}).items():
                tensor.copy_(fitted(state[part][name], tensor))
