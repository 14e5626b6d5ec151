"""Random sequences of rows in float64, and what autograd makes of a loss over them, that the objectives' tests share."""

from types import SimpleNamespace

import torch

LENGTHS = (5, 1, 7, 3, 4, 6)


def batch_of(lengths=LENGTHS, pairs=None):
    """What a sequence objective asks of a batch."""
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    pairs = None if pairs is None else torch.tensor(pairs, dtype=torch.int32)
    weight = None if pairs is None else torch.full((len(pairs),), 1 / len(pairs), dtype=torch.float64)
    return SimpleNamespace(document=document, trajectory=document, num_sequences=len(lengths), pairs=pairs, pair_weight=weight)


def random_sequences(lengths=LENGTHS, seed=0, spread=0.3):
    """(logprob, entropy, streams) of as many rows as the lengths add up to; `advantage` is one a sequence, each row's share of the mean."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(lengths)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    logprob = -normal(n).abs() - 0.1
    document = batch_of(lengths).document
    share = 1 / (torch.tensor(lengths, dtype=torch.float64)[document] * len(lengths))
    streams = {
        "advantage": normal(len(lengths))[document] * share, "behaviour_logprob": logprob + spread * normal(n),
        "reference_logprob": logprob + spread * normal(n), "policy": share, "value": share / 2, "reward": normal(n), "entropy": share / 10,
        "kl": share, "head": normal(n),
    }  # fmt: skip
    return logprob, normal(n).abs(), streams


def padded(rows, lengths=LENGTHS):
    """[N] -> [B, longest], zeros behind; and the mask."""
    table = torch.zeros(len(lengths), max(lengths), dtype=rows.dtype)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return table.masked_scatter(mask, rows), mask


def assert_derivatives(objective, loss_of, batch, logprob, entropy, streams):
    """`loss_of(logprob, entropy, streams)` is the loss in plain torch: its value and derivatives must be the objective's."""
    leaves = {"logprob": logprob.clone().requires_grad_(), "entropy": entropy.clone().requires_grad_()}
    given = dict(streams)
    if "head" in streams:
        leaves["head"] = given["head"] = streams["head"].clone().requires_grad_()
    expected = loss_of(leaves["logprob"], leaves["entropy"], given)
    gradients = dict(zip(leaves, torch.autograd.grad(expected, list(leaves.values()), allow_unused=True)))
    got = objective.coefficients(logprob, entropy, streams, batch)
    torch.testing.assert_close(got.loss.sum(), expected.detach(), rtol=1e-12, atol=1e-12)
    for name, derivative in (("logprob", got.dlogprob), ("entropy", got.dentropy), ("head", got.dhead)):
        if gradients.get(name) is None:
            assert derivative is None or not derivative.any(), name
        else:
            torch.testing.assert_close(derivative, gradients[name], rtol=1e-12, atol=1e-12, msg=name)
    return got
