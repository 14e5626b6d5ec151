"""sample_token's Triton kernels against the C++ core: tokens, log-probs and which tokens the filters keep."""

from typing import Any

import pytest
import torch
from torch import Tensor

from paradigm import _core
from paradigm.kernels.sample_token import Draw, noise_bits, sample_token
from tests.kernels.test_sample_token import FILTERS, noise, of_the_core, random_logits, random_support

triton_module = pytest.importorskip("paradigm.kernels.sample_token_triton")
import triton  # noqa: E402
import triton.language as tl  # noqa: E402

pytestmark = pytest.mark.usefixtures("on_triton", "short_tiles")

noise_bits_of, gumbel_of = triton_module._noise_bits, triton_module._gumbel
DEVICES = [pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else ["cpu"]
ROUNDING = 4e-6  # of a float32 score near the largest


@pytest.fixture
def short_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the interpreter tiles of 64 tokens, so that small vocabularies have several."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(triton_module, "TILE", 64)
        monkeypatch.setattr(triton_module, "TILE_OPTIONS", {**triton_module.TILE_OPTIONS, "TILE": 64})
        monkeypatch.setattr(triton_module, "CUT_OPTIONS", {**triton_module.CUT_OPTIONS, "TILE": 64, "BLOCK": 32})


def on(device: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: x.to(device) if isinstance(x, Tensor) else x for name, x in values.items()}


def draw_of(logits: Tensor, **settings: Any) -> Draw:
    values = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **settings}
    dtypes = (torch.float32, torch.int32, torch.float32, torch.float32, torch.int64, torch.int64, torch.int32)
    rows = len(logits)
    return Draw(*(x if isinstance(x, Tensor) else torch.full((rows,), x, dtype=t, device=logits.device) for x, t in zip(values.values(), dtypes)))


def kept_tokens(logits: Tensor, cut_logit: Tensor, cut_id: Tensor) -> Tensor:
    ties = (logits == cut_logit[:, None]) & (torch.arange(logits.shape[1]) <= cut_id[:, None])
    return (logits > cut_logit[:, None]) | (ties & (logits > -torch.inf))


def assert_same_draw(logits: Tensor, support: Any, settings: dict[str, Any]) -> list[Tensor]:
    """Tokens may differ from the core's only where their scores differ by float32 roundings."""
    core = of_the_core(logits, support, **settings)
    draw = draw_of(logits, **settings)
    ours = [x.cpu() for x in triton_module.draw_and_cut(logits, draw, support, is_filtered=True)]
    x = logits.cpu().double()
    heat = draw.temperature.cpu().double()[:, None]
    d = (x - x.amax(1, keepdim=True)) / torch.where(heat == 0, 1.0, heat)
    uniform = (noise_bits(Draw(*(t.cpu() for t in draw)), x.shape[1]) + 0.5) * 2.0**-32
    scores = d - (-torch.log1p(-uniform)).log() * (heat != 0)
    our_score, score, distance = (t.gather(1, ids.long()[:, None])[:, 0] for t, ids in ((scores, ours[0]), (scores, core[0]), (d, core[0])))
    same = ours[0] == core[0]
    assert (same | ((our_score - score).abs() <= ROUNDING * (1 + distance.abs()))).all()
    assert (~same).sum() <= len(same) / 40
    torch.testing.assert_close(ours[1][same], core[1][same], rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(ours[2][same], core[2][same], rtol=1e-6, atol=2e-6)
    filtered = heat[:, 0] != 0  # greedy rows have no cut
    assert torch.equal(kept_tokens(logits.cpu(), *ours[3:])[filtered], kept_tokens(logits.cpu(), *core[3:])[filtered])
    return ours


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "masked"), [*((n, False) for n in FILTERS), *((n, True) for n in ("none", "greedy", "top_k", "all, hot"))])
def test_draws_what_the_core_draws(name: str, masked: bool, device: str) -> None:
    rows = 16 if name in ("none", "temperature", "greedy") else 5
    logits = random_logits(rows, 203).to(device)
    support = tuple(x.to(device) for x in random_support(rows, 203)) if masked else None
    settings = on(device, {**noise(rows), **FILTERS[name]})
    ours = assert_same_draw(logits, support, settings)
    for x, y in zip(sample_token(logits, support=support, **settings), ours):
        assert torch.equal(x.cpu(), y)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_with_filters_of_their_own_do_not_depend_on_the_others(device: str) -> None:
    rows = 12
    logits = random_logits(rows, 70, 3.0).to(device)
    settings = on(device, {
        **noise(rows), "temperature": torch.tensor([0.0, 0.7, 1.4] * 4), "top_k": torch.tensor([0, 5, 0, 90] * 3, dtype=torch.int32),
        "top_p": torch.tensor([1.0, 0.9, 0.5, 0.97, 1.0, 1.0] * 2), "min_p": torch.tensor([0.0, 0.02] * 6),
    })  # fmt: skip
    whole = assert_same_draw(logits, None, settings)
    some = [7, 2, 10]
    alone = sample_token(logits[some], **{name: x[some] for name, x in settings.items()})
    assert all(torch.equal(x.cpu(), y[some]) for x, y in zip(alone, whole))


@pytest.mark.parametrize("device", DEVICES)
def test_ties_are_kept_and_won_by_the_lowest_id(device: str) -> None:
    logits = torch.zeros(1, 200, device=device)
    logits[0, 7] = -0.0

    def num_kept(**settings: Any) -> list[int]:
        cut = triton_module.draw_and_cut(logits, draw_of(logits, **on(device, noise(1)), **settings), None, is_filtered=True)[3:]
        return kept_tokens(logits.cpu(), *(x.cpu() for x in cut)).nonzero()[:, 1].tolist()

    assert num_kept(top_k=33) == list(range(33))
    assert num_kept(top_p=0.5) == list(range(100))
    assert num_kept(min_p=0.999) == list(range(200))
    assert num_kept(top_k=100, top_p=0.25) == list(range(25))
    logits[0, [5, 160]] = 1.0
    assert num_kept(top_k=1) == [5]
    assert num_kept(top_k=3) == [0, 5, 160]
    assert sample_token(logits, temperature=0.0)[0].tolist() == [5]
    logits[logits < 1] = 1 - 2.0**-24  # all four-bit digits of its mantissa are 15
    assert num_kept(top_k=4) == [0, 1, 5, 160]
    assert num_kept(top_p=0.25) == [*range(49), 160]


@pytest.mark.parametrize("device", DEVICES)
def test_huge_and_infinite_logits(device: str) -> None:
    logits = random_logits(5, 100)
    logits[0] += 1e6
    logits[1] *= 1e30
    logits[2, 1:] = -torch.inf
    logits[3, 7] = 3e38
    logits[4, :50] = -3e38
    for filters in ({}, {"top_k": 4, "top_p": 0.9, "min_p": 0.01}):
        assert_same_draw(logits.to(device), None, on(device, {**noise(5), **filters}))


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_that_cannot_be_drawn_from_gets_no_token_and_leaves_the_others(device: str) -> None:
    logits = random_logits(4, 150).to(device)
    settings = on(device, noise(4))
    whole = sample_token(logits, **settings)
    for bad in (torch.nan, torch.inf):
        for filters in ({}, {"top_k": 3, "top_p": 0.5, "min_p": 0.1}):
            broken = logits.clone()
            broken[1, 140] = bad
            broken[2] = -torch.inf
            ids, logprobs, kept_logmass = sample_token(broken, **settings, **filters)
            assert ids[1:3].tolist() == [-1, -1] and logprobs[1:3].isnan().all() and kept_logmass[1:3].isnan().all()
            expected = sample_token(logits, **settings, **filters) if filters else whole
            assert torch.equal(ids[[0, 3]], expected[0][[0, 3]]) and torch.equal(logprobs[[0, 3]], expected[1][[0, 3]])


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_whose_mask_is_not_in_the_table_gets_no_token(device: str) -> None:
    logits, draw = random_logits(4, 150).to(device), draw_of(random_logits(4, 150).to(device), **on(device, noise(4)))
    ids, table = torch.tensor([-1, 2, -2, 1], dtype=torch.int32, device=device), torch.full((2, 5), -1, dtype=torch.int32, device=device)
    drawn, logprobs, kept_logmass = triton_module.sample_token_forward(logits, draw, (ids, table), is_filtered=False)
    assert drawn[1:3].tolist() == [-1, -1] and logprobs[1:3].isnan().all() and kept_logmass[1:3].isnan().all()
    assert torch.equal(drawn[[0, 3]], triton_module.sample_token_forward(logits, draw, None, is_filtered=False)[0][[0, 3]])


@pytest.mark.parametrize("device", DEVICES)
def test_strided_rows_and_no_rows(device: str) -> None:
    logits = random_logits(6, 75).to(device)
    wide = torch.full((6, 80), torch.nan, device=device)
    wide[:, :75] = logits
    settings = on(device, noise(6))
    for x in (wide[:, :75], logits.t().contiguous().t()):
        assert all(torch.equal(a, b) for a, b in zip(sample_token(x, **settings), sample_token(logits, **settings)))
    assert [x.shape for x in sample_token(logits[:0], top_k=2)] == [(0,)] * 3


@triton.jit
def _philox_kernel(counter, key, out):  # type: ignore[no-untyped-def]
    words = tl.philox(
        tl.load(key), tl.load(counter).to(tl.uint32), tl.load(counter + 1).to(tl.uint32), tl.load(counter + 2).to(tl.uint32),
        tl.load(counter + 3).to(tl.uint32),
    )  # fmt: skip
    for i in tl.static_range(4):
        tl.store(out + i, words[i].to(tl.int64))


@triton.jit
def _bits_kernel(key, trajectory, position, out, first, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    bits = noise_bits_of(tl.load(key), tl.load(trajectory), tl.load(position), first, TILE)
    tl.store(out + tl.arange(0, TILE), bits.to(tl.int64))


@pytest.mark.parametrize("device", DEVICES)
def test_noise_is_random123s(device: str) -> None:
    f = 0xFFFFFFFF
    for counter, key, expected in (
        ([0] * 4, [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([f] * 4, [f, f], [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ):  # fmt: skip
        out = torch.zeros(4, dtype=torch.int64, device=device)
        seed = torch.tensor([key[0] | key[1] << 32], dtype=torch.uint64).view(torch.int64).to(device)
        _philox_kernel[(1,)](torch.tensor(counter, device=device), seed, out)
        assert out.tolist() == expected
    settings = noise(3)
    for row in range(3):
        out = torch.zeros(64, dtype=torch.int64, device=device)
        values = [settings[name][row : row + 1].to(device) for name in ("key", "trajectory", "position")]
        _bits_kernel[(1,)](*values, out, 4096, TILE=64)
        key, trajectory, position = (int(x) % 2**bits for x, bits in zip(values, (64, 64, 32)))
        words = [position, trajectory % 2**32, trajectory >> 32]
        expected = [_core.philox4x32([1024 + i, *words], [key % 2**32, key >> 32]) for i in range(16)]
        assert out.tolist() == [word for words in expected for word in words]


@pytest.mark.parametrize("device", DEVICES)
def test_every_bit_pattern_has_its_gumbel_to_float32(device: str) -> None:
    edges = torch.tensor([0, 1, 2, 2**23, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1, 2714937127, 2714937126])
    bits = torch.cat([edges, torch.randint(0, 2**32, (1013,), generator=torch.Generator().manual_seed(0))])
    bits = torch.cat([bits, bits >> 12, 2**32 - 1 - (bits >> 12), bits >> 24])
    out = torch.zeros(4096, device=device)
    _gumbel_kernel[(1,)](bits.to(device), out, TILE=4096)
    truth = -(-torch.log1p(-(bits.double() + 0.5) * 2.0**-32)).log()
    assert ((out.cpu() - truth).abs() <= 3e-7 * (1 + truth.abs())).all()


@triton.jit
def _gumbel_kernel(bits, out, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.arange(0, TILE)
    tl.store(out + at, gumbel_of(tl.load(bits + at).to(tl.uint32)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("filters", [{}, {"top_k": 50}, {"top_p": 0.95}, {"temperature": 0.7, "top_k": 50, "top_p": 0.95, "min_p": 0.05}])
def test_real_vocabulary(filters: dict[str, Any]) -> None:
    logits = random_logits(256, 151936).cuda()
    draw = draw_of(logits, **on("cuda", {**noise(256), **filters}))
    ids, logprobs, kept_logmass = (x.cpu() for x in triton_module.sample_token_forward(logits, draw, None, is_filtered=bool(filters)))
    core = of_the_core(logits, None, **{**noise(256), **filters})
    same = ids == core[0]
    assert same.sum() >= 255  # in float32 and float64 two scores may lie in another order
    torch.testing.assert_close(logprobs[same], core[1][same], rtol=1e-6, atol=3e-6)
    torch.testing.assert_close(kept_logmass, core[2], rtol=1e-5, atol=3e-6)
