import copy
import math

import pytest
import torch
from torch import nn

from paradigm.optimizer import Muon, Schedule, adamw, decay_groups, freeze, orthogonalized


def ratios(steps, **options):
    return [Schedule(**options).ratio(step) for step in steps]


@pytest.mark.parametrize(
    ("options", "steps", "expected"),
    [
        ({"kind": "constant", "warmup_steps": 3}, [0, 1, 2, 3, 1000], [0.25, 0.5, 0.75, 1, 1]),
        ({"kind": "constant"}, [0, 5], [1, 1]),
        ({"kind": "linear", "warmup_steps": 1, "total_steps": 11}, [0, 1, 2, 6, 10, 11, 50], [0.5, 1, 0.9, 0.5, 0.1, 0, 0]),
        ({"kind": "linear", "total_steps": 4, "min_ratio": 0.2}, [0, 1, 2, 3, 4], [1, 0.8, 0.6, 0.4, 0.2]),
        ({"kind": "cosine", "warmup_steps": 2, "total_steps": 14, "min_ratio": 0.1}, [1, 2, 6, 8, 10, 14], [2 / 3, 1, 0.775, 0.55, 0.325, 0.1]),
        ({"kind": "wsd", "warmup_steps": 1, "total_steps": 20, "decay_steps": 4}, [0, 1, 16, 17, 18, 19, 20], [0.5, 1, 1, 0.75, 0.5, 0.25, 0]),
        ({"kind": "wsd", "total_steps": 10, "min_ratio": 0.5}, [7, 8, 9, 10, 11], [1, 1, 0.75, 0.5, 0.5]),
        # a decay longer than what warm-up leaves; a warm-up longer than the run
        ({"kind": "wsd", "warmup_steps": 2, "total_steps": 4, "decay_steps": 9}, [1, 2, 3, 4], [2 / 3, 1, 0.5, 0]),
        ({"kind": "cosine", "warmup_steps": 10, "total_steps": 2}, [0, 1, 9, 10], [1 / 11, 2 / 11, 10 / 11, 0]),
    ],
)
def test_schedules_by_hand(options, steps, expected):
    assert ratios(steps, **options) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "step"}, "kind must be .*, got 'step'"),
        ({"kind": "linear"}, "total_steps must be given for kind 'linear'"),
        ({"kind": "cosine", "total_steps": 0}, "total_steps must be >= 1, got 0"),
        ({"kind": "constant", "warmup_steps": -1}, "warmup_steps must be >= 0, got -1"),
        ({"kind": "linear", "total_steps": 3, "min_ratio": 2}, r"min_ratio must be in \[0, 1\], got 2"),
        ({"kind": "linear", "total_steps": 3, "decay_steps": 2}, "decay_steps must be None unless kind is 'wsd', got 2"),
        ({"kind": "wsd", "total_steps": 3, "decay_steps": -2}, "decay_steps must be >= 0, got -2"),
    ],
)
def test_bad_schedules(options, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**options)


def model():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 5, bias=False))
    net[3].weight = net[0].weight  # tied
    return net


def test_norms_biases_and_embeddings_do_not_decay():
    net = model()
    decayed, rest = decay_groups(net, 0.3)
    assert decayed["weight_decay"] == 0.3 and [id(p) for p in decayed["params"]] == [id(net[1].weight)]
    assert rest["weight_decay"] == 0 and {id(p) for p in rest["params"]} == {id(net[0].weight), id(net[1].bias), id(net[2].weight), id(net[2].bias)}


def test_freezing_by_pattern():
    net = model()
    freeze(net, ["1.*", "2.weight"])
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["1.weight", "1.bias", "2.weight"]
    assert [len(group["params"]) for group in decay_groups(net, 0.1)] == [1, 2]
    with pytest.raises(ValueError, match=r"trainable must match parameter names such as .*, got 'heads.\*', which matches none"):
        freeze(net, "heads.*")


def test_adamw_by_hand():
    # one step: the update is lr * g / (|g| + eps) after decay by 1 - lr * wd
    weight = nn.Parameter(torch.tensor([[2.0, -1.0]]))
    bias = nn.Parameter(torch.tensor([2.0]))
    optimizer = adamw([{"params": [weight], "weight_decay": 0.5}, {"params": [bias], "weight_decay": 0.0}], learning_rate=0.1)
    weight.grad, bias.grad = torch.tensor([[3.0, -7.0]]), torch.tensor([1.0])
    optimizer.step()
    assert weight.tolist()[0] == pytest.approx([2 * 0.95 - 0.1, -1 * 0.95 + 0.1], abs=1e-6)
    assert bias.item() == pytest.approx(1.9, abs=1e-6)
    # second step, gradient -1: m = 0.9 * 0.1 - 0.1, v = 0.95 * 0.05 + 0.05
    bias.grad = torch.tensor([-1.0])
    optimizer.step()
    m, v = (0.9 * 0.1 - 0.1) / (1 - 0.9**2), (0.95 * 0.05 + 0.05) / (1 - 0.95**2)
    assert bias.item() == pytest.approx(1.9 - 0.1 * m / (math.sqrt(v) + 1e-8), abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_orthogonalizing_keeps_singular_vectors_and_levels_singular_values(shape):
    matrices = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = orthogonalized(matrices)
    values = torch.linalg.svdvals(result)
    assert result.shape == matrices.shape and values.max() < 1.3 and values.median() > 0.65
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ result @ vh.mT
    assert (turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))).abs().max() < 1e-9


def test_muon_takes_matrices_and_adamw_the_rest():
    net = model()
    optimizer = Muon(net, learning_rate=0.1, weight_decay=0.5)
    assert [(len(g["params"]), g["matrices"], g["weight_decay"]) for g in optimizer.param_groups] == [(1, True, 0.5), (4, False, 0.0)]
    before = net[1].weight.detach().clone()
    twin = model()
    twin.load_state_dict(net.state_dict())
    rival = adamw([{"params": [p for p in twin.parameters() if p is not twin[1].weight], "weight_decay": 0.0}], learning_rate=0.1)
    for _ in range(3):
        for p, q in zip(net.parameters(), twin.parameters()):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
            q.grad = p.grad.clone()
        optimizer.step()
        rival.step()
    for name, parameter in net.named_parameters():
        if name != "1.weight":
            assert torch.allclose(parameter, dict(twin.named_parameters())[name], atol=1e-6), name
    # a constant gradient has the same orthogonal part in every step: three updates of root mean square near 1, after decay
    gradient = net[1].weight.grad[None]
    expected = before
    for _ in range(3):
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * math.sqrt(4) * orthogonalized(gradient)[0]
    assert torch.allclose(net[1].weight, expected, atol=1e-3)
    assert (orthogonalized(gradient)[0] * math.sqrt(4)).square().mean().sqrt().item() == pytest.approx(1, abs=0.35)


def test_muon_leaves_scalar_heads_and_decay_free_embeddings_alone():
    net = model()
    assert [g["matrices"] for g in Muon(net, learning_rate=0.1).param_groups] == [True, False]
    assert len(Muon(net, learning_rate=0.1).param_groups[0]["params"]) == 1
    with pytest.raises(ValueError, match="closure must be None"):
        Muon(net, learning_rate=0.1).step(lambda: 0.0)


def test_muon_goes_on_from_its_state():
    def train(net, optimizer, steps):
        for seed in steps:
            for p in net.parameters():
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
            optimizer.step()

    torch.manual_seed(0)
    net = model()
    optimizer = Muon(net, learning_rate=0.1, weight_decay=0.1)
    train(net, optimizer, range(3))
    other = model()
    other.load_state_dict(net.state_dict())
    resumed = Muon(other, learning_rate=0.1, weight_decay=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(net, optimizer, range(3, 6))
    train(other, resumed, range(3, 6))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters()))
