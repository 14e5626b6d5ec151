"""The policy itself: packing, paging, decoding, initial weights, heads, counts. On disk: test_policy_files.py; transformers: interop."""

import contextlib
import copy
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from paradigm.batch import PackedBatch
from paradigm.kernels.cpu_slots import CPU
from paradigm.kernels.layout import Layout
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig
from paradigm.trajectory import Trajectory
from tests.policy_cases import SHAPE, make, random_tokens


def bounds(lengths: list[int]) -> list[int]:
    return [0, *np.cumsum(lengths).tolist()]


def feed_paged(policy: Policy, documents: list[Tensor], chunks: list[list[int]], block_size: int = 16) -> list[Tensor]:
    """Hidden states of documents fed through a paged cache in shuffled blocks: in step s, document b feeds chunks[s][b] tokens."""
    blocks_each = max(-(-len(d) // block_size) for d in documents)
    num_blocks = 1 + blocks_each * len(documents)
    cache = policy.new_cache(num_blocks, block_size)
    order = torch.randperm(num_blocks - 1, generator=torch.Generator().manual_seed(1)) + 1
    table = order.reshape(len(documents), blocks_each).to(torch.int32)
    fed, out = [0] * len(documents), [[] for _ in documents]
    for step in chunks:
        active = [b for b, n in enumerate(step) if n]
        counts = [step[b] for b in active]
        tokens = torch.cat([documents[b][fed[b] : fed[b] + n] for b, n in zip(active, counts)])
        positions = torch.cat([torch.arange(fed[b], fed[b] + n) for b, n in zip(active, counts)])
        context = torch.tensor([fed[b] + n for b, n in zip(active, counts)])
        layout = Layout.paged(
            torch.tensor(bounds(counts), dtype=torch.int32), positions.to(torch.int32), context.to(torch.int32),
            torch.tensor(active, dtype=torch.int32), table, cache,
        )
        with torch.no_grad():
            hidden = policy(tokens, layout)
        for b, rows in zip(active, hidden.split(counts)):
            out[b].append(rows)
            fed[b] += len(rows)
    return [torch.cat(rows) for rows in out]


@pytest.mark.parametrize("causal", [None, False])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_packed_documents_equal_separate_ones(family: str, causal: bool | None) -> None:
    policy = make(family)
    documents = [random_tokens(n, seed=n) for n in (5, 1, 33, 16)]
    packed = policy(torch.cat(documents), Layout(bounds([5, 1, 33, 16])), causal=causal).split([5, 1, 33, 16])
    for document, rows in zip(documents, packed):
        assert torch.equal(rows, policy(document, Layout([0, len(document)]), causal=causal))


def test_causal_and_not() -> None:
    policy, tokens, layout = make(), random_tokens(20), Layout([0, 20])
    changed = tokens.clone()
    changed[12] = (changed[12] + 1) % 96
    assert torch.equal(policy(tokens, layout)[:12], policy(changed, layout)[:12])
    assert not torch.equal(policy(tokens, layout)[12], policy(changed, layout)[12])
    different = (policy(tokens, layout, causal=False) != policy(changed, layout, causal=False)).any(-1)
    assert different.all(), "without the causal mask every token sees the change"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("changes", [{}, {"family": "qwen2", "sliding_window": 6, "layer_types": ("full_attention", *["sliding_attention"] * 2)}])
def test_paged_equals_packed_bitwise(changes: dict, dtype: str) -> None:
    policy = make(**{"dtype": dtype, **changes})
    lengths = [37, 5, 20]
    documents = [random_tokens(n, seed=n) for n in lengths]
    with torch.no_grad():
        packed = policy(torch.cat(documents), Layout(bounds(lengths))).split(lengths)
    one_by_one = [[1 if t < n else 0 for n in lengths] for t in range(37)]
    in_chunks = [[16, 5, 3], [16, 0, 16], [0, 0, 1], [5, 0, 0]]
    for chunks in (one_by_one, in_chunks, [lengths]):
        for prepared in (contextlib.nullcontext, policy.decoding):
            with prepared():
                fed = feed_paged(policy, documents, chunks)
            for wanted, rows in zip(packed, fed):
                torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-4 if dtype == "float32" else 0.1)
                if "paged_attention" in CPU:  # the plain-torch references do not promise the last bit
                    assert torch.equal(wanted, rows)


@pytest.mark.parametrize(
    "changes",
    [{}, {"family": "llama", "mlp_bias": True, "attention_bias": True}, {"family": "qwen2", "num_kv_heads": 1, "head_dim": 40}, {"num_heads": 6}],
    ids=["qwen3", "llama", "qwen2", "groups of three"],
)
def test_decoding_on_packed_weights_is_the_layers_bits(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make(**{"num_kv_heads": 2, **changes})
    for parameter in policy.parameters():  # biases and norms too
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    documents = [random_tokens(n, seed=n) for n in (40, 3, 17)]
    chunks = [[7, 3, 16], *[[1 if t < 33 else 0, 0, 1 if t < 1 else 0] for t in range(33)]]
    plain = feed_paged(policy, documents, chunks)
    with policy.decoding():
        monkeypatch.setattr(policy.model.layers[0], "forward", None)  # not called
        assert all(map(torch.equal, feed_paged(policy, documents, chunks), plain))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_with_sequences_of_their_own_decode_the_layers_bits(threads: int) -> None:
    """A step of one token a sequence, many sequences: each thread takes its share through all layers, of unlike contexts."""
    policy, lengths = make(num_kv_heads=2), [2 + n % 7 + 40 * (n == 3) for n in range(200)]
    documents = [random_tokens(n, seed=number) for number, n in enumerate(lengths)]
    chunks = [[n - 2 for n in lengths], [1] * 200, [1] * 200]
    plain, before = feed_paged(policy, documents, chunks), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with policy.decoding():
            assert all(map(torch.equal, feed_paged(policy, documents, chunks), plain))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("wanted", [[], [0], [39, 42, 59], [3, 4, 5, 40, 41], list(range(60))], ids=len)
def test_the_rows_that_are_wanted_are_those_of_all_rows(wanted: list[int], num_layers: int) -> None:
    policy, lengths = make(num_layers=num_layers), [40, 3, 17]
    layout = Layout.paged(
        torch.tensor(bounds(lengths), dtype=torch.int32), torch.cat([torch.arange(n, dtype=torch.int32) for n in lengths]),
        torch.tensor(lengths, dtype=torch.int32), torch.arange(3, dtype=torch.int32), torch.arange(1, 10, dtype=torch.int32).view(3, 3),
        policy.new_cache(10),
    )  # fmt: skip
    tokens, rows = random_tokens(60), torch.tensor(wanted, dtype=torch.int32)
    with torch.no_grad():
        hidden = policy(tokens, layout)
        cached = layout.cache.keys.clone(), layout.cache.values.clone()
        for prepared in (contextlib.nullcontext, policy.decoding):
            layout.cache.keys.zero_(), layout.cache.values.zero_()
            with prepared():
                assert torch.equal(policy(tokens, layout, rows=rows), hidden[wanted])
            assert torch.equal(layout.cache.keys, cached[0]) and torch.equal(layout.cache.values, cached[1])
        for wrong in ([5, 3], [4, 4], [60], [-1]):
            with policy.decoding(), pytest.raises(ValueError, match="rows must ascend and be tokens of the sequences"):
                policy(tokens, layout, rows=torch.tensor(wrong, dtype=torch.int32))
        for token in (-1, policy.config.vocab_size):
            with policy.decoding(), pytest.raises(ValueError, match=f"tokens must be below {policy.config.vocab_size}, got {token}"):
                policy(tokens.index_fill(0, torch.tensor([7]), token), layout)


def test_weights_are_packed_anew_for_each_collection() -> None:
    policy = make()
    for _ in range(2):
        with policy.decoding(), policy.decoding():
            inside = feed_paged(policy, [random_tokens(9)], [[9]])[0]
        assert torch.equal(inside, feed_paged(policy, [random_tokens(9)], [[9]])[0])
        with torch.no_grad():
            policy.model.layers[1].mlp.up_proj.weight.mul_(1.5)


def test_what_has_been_replaced_or_hooked_is_not_passed_over() -> None:
    seen = []
    hooked, heard, replaced, inexact = make(), make(), make(), make()
    heard.model.embed_tokens.register_forward_hook(lambda *_: seen.append(1))
    hooked.model.layers[2].mlp.register_forward_hook(lambda *_: seen.append(1))
    replaced.model.layers[0].self_attn.q_proj = torch.nn.Linear(48, 64, bias=False)  # as LoRA does
    inexact.exact = False
    for policy in (hooked, heard, replaced, inexact):
        assert policy.model.packed() is None
        with policy.decoding():
            feed_paged(policy, [random_tokens(9)], [[9]])
    assert len(seen) == 2 and make().model.packed() is not None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_wide_layers_equal_whatever_the_batch(dtype: str) -> None:
    policy = make(hidden_size=1536, intermediate_size=2048, num_layers=1, dtype=dtype, heads=("value",), initializer_range=0.02)
    torch.nn.init.normal_(policy.heads["value"].weight, generator=torch.Generator().manual_seed(0))
    tokens = random_tokens(70)
    with torch.no_grad():
        whole = policy(tokens, Layout([0, 40, 70]))
        alone = policy(tokens[:40], Layout([0, 40]))
        assert torch.equal(whole[:40], alone)
        for rows in (1, 3, 17):
            assert torch.equal(policy.logits(whole)[:rows], policy.logits(whole[:rows]))
            assert torch.equal(policy.heads["value"](whole)[:rows], policy.heads["value"](whole[:rows]))


def test_threads_change_nothing() -> None:
    policy = make(hidden_size=256, intermediate_size=1024)
    tokens, layout = random_tokens(100), Layout([0, 61, 100])
    before = torch.get_num_threads()
    try:
        results = []
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            with torch.no_grad():
                results.append(policy.logits(policy(tokens, layout)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def test_exact_says_where_it_holds() -> None:
    assert make().exact and make(dtype="bfloat16").exact
    assert not make(dtype="float16").exact and not make(head_dim=12).exact
    policy, tokens, layout = make(), random_tokens(21), Layout([0, 21])
    exact = policy(tokens, layout)
    policy.exact = False
    assert not policy.exact
    torch.testing.assert_close(policy(tokens, layout), exact, rtol=0, atol=1e-5)
    policy.exact = None
    assert policy.exact and torch.equal(policy(tokens, layout), exact)


def test_shared_prompts_equal_whole_sequences() -> None:
    policy = make()
    prompt, first, second = random_tokens(9, 1), random_tokens(6, 2), random_tokens(4, 3)
    shared = policy(torch.cat([prompt, first, second]), Layout(bounds([9, 6, 4]), parent=[-1, 0, 0])).split([9, 6, 4])
    for rows, continuation in zip(shared[1:], (first, second)):
        whole = policy(torch.cat([prompt, continuation]), Layout([0, 9 + len(continuation)]))
        assert torch.equal(rows, whole[9:])


def test_embeddings_replace_placeholders() -> None:
    policy, tokens, layout = make(), random_tokens(12), Layout([0, 12])
    positions = torch.tensor([3, 7])
    same = policy.model.embed_tokens.weight[tokens[positions]].detach()
    assert torch.equal(policy(tokens, layout), policy(tokens, layout, embeddings=(positions, same)))
    values = torch.randn(2, 48, generator=torch.Generator().manual_seed(0), requires_grad=True)
    other = tokens.clone()
    other[positions] = 0
    hidden = policy(tokens, layout, embeddings=(positions, values))
    assert torch.equal(hidden, policy(other, layout, embeddings=(positions, values))), "the placeholder's own token must not matter"
    assert not torch.equal(hidden[3:], policy(tokens, layout)[3:])
    hidden.square().sum().backward()
    assert values.grad is not None and (values.grad.abs().sum(-1) > 0).all()
    with pytest.raises(ValueError, match=r"embeddings must be values of shape \[2, 48\], got \[2, 47\]"):
        policy(tokens, layout, embeddings=(positions, torch.zeros(2, 47)))


def test_heads_are_named_and_float32() -> None:
    policy = make(heads=("value", "reward"), dtype="bfloat16")
    hidden = policy(random_tokens(5), Layout([0, 5]))
    assert hidden.dtype == torch.bfloat16 and list(policy.heads) == ["value", "reward"]
    value = policy.heads["value"](hidden)
    assert value.dtype == torch.float32 and value.shape == (5,) and not value.any(), "a new head says zero"
    with torch.no_grad():
        policy.heads["value"].weight.fill_(0.5)
        policy.heads["value"].bias.fill_(2.0)
    torch.testing.assert_close(policy.heads["value"](hidden), hidden.float().sum(-1) * 0.5 + 2.0)


def test_log_probs_of_a_batch() -> None:
    policy = make()
    tokens = random_tokens(11).to(torch.int32)
    legal = np.zeros((1, 3), dtype=np.uint32)
    legal[0, 0] = 0xFFFF  # tokens 0 to 15
    position, target = torch.tensor([2, 5, 9]), torch.tensor([7, 40, 3])
    batch = PackedBatch(
        tokens=tokens, layout=Layout([0, 6, 11]), position=position, target=target, streams={}, version=torch.zeros(3, dtype=torch.int32),
        trajectory=torch.tensor([0, 0, 1]), support=torch.tensor([0, -1, 0], dtype=torch.int32),
        support_table=torch.from_numpy(legal.view(np.int32)), temperature=0.7,
    )
    scores = policy.log_probs(batch)
    assert not scores.requires_grad and scores.dtype == torch.float32
    logits = policy.logits(policy(tokens, batch.layout))[position] / 0.7
    logits[[0, 2], 16:] = -torch.inf
    torch.testing.assert_close(scores, logits.log_softmax(-1).gather(1, target[:, None])[:, 0], rtol=0, atol=1e-5)


def test_log_probs_of_packed_trajectories() -> None:
    policy = make()
    parts = [Trajectory.from_arrays(random_tokens(n, n).numpy().astype(np.int32), action_mask=np.arange(n) >= 2) for n in (7, 4)]
    (batch,) = PackedBatch.pack(parts, 64)
    scores = policy.log_probs(batch)
    assert scores.shape == (batch.num_rows,) and batch.num_rows == 5 + 2
    assert (scores < 0).all()


def test_initial_weights() -> None:
    before = torch.get_rng_state()
    policy = make(hidden_size=256, intermediate_size=512, num_layers=2, initializer_range=0.02, family="qwen2")
    assert torch.equal(before, torch.get_rng_state()), "the global generator must not be touched"
    parameters = dict(policy.named_parameters())
    for name, parameter in parameters.items():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert (parameter == 1).all(), name
        else:
            std = 0.02 / 2 if "o_proj" in name or "down_proj" in name else 0.02
            assert abs(float(parameter.detach().std()) / std - 1) < 0.05 and abs(float(parameter.detach().mean())) < 0.1 * std, name
    again, other = make(seed=1), make(seed=2)
    assert all(torch.equal(a, b) for a, b in zip(make(seed=1).parameters(), again.parameters()))
    assert not torch.equal(again.head_weight, other.head_weight)


def test_tied_weights_stay_one_parameter() -> None:
    policy = make(tie_word_embeddings=True)
    assert policy.head_weight is policy.model.embed_tokens.weight
    for moved in (copy.deepcopy(policy), make(tie_word_embeddings=True).to(torch.float64), make(tie_word_embeddings=True).bfloat16()):
        assert moved.head_weight is moved.model.embed_tokens.weight


def test_parameters_and_flops_counted_by_hand() -> None:
    policy = make(num_layers=2)
    # q 48x64, k and v 48x32 each, o 64x48; gate, up, down 48x80 each
    matrices = 48 * 64 + 2 * 48 * 32 + 64 * 48 + 3 * 48 * 80
    norms = 48 + 48 + 16 + 16
    assert sum(p.numel() for p in policy.parameters()) == 2 * (matrices + norms) + 48 + 2 * 96 * 48
    # documents of 3 and 2 tokens: 1 + 2 + 3 + 1 + 2 = 9 pairs of query and key, each 2 products of 16 channels for 4 heads
    attention = 2 * 9 * 4 * 16 * 2 * 2
    forward = 5 * 2 * (2 * matrices + 96 * 48) + attention
    assert policy.flops(5, Layout([0, 3, 5])) == forward
    assert policy.flops(5, Layout([0, 3, 5]), backward=True) == 3 * forward
    assert policy.flops(5, 9 / 5) == forward
    assert policy.flops(5, Layout([0, 3, 5]), num_predictions=2) == forward - 3 * 2 * 96 * 48
    # a shared prompt: the 2 tokens see 3 + 1 and 3 + 2 keys
    assert policy.flops(5, Layout([0, 3, 5], parent=[-1, 0])) == forward + 2 * 6 * 4 * 16 * 2 * 2
    windowed = make("qwen2", num_layers=1, sliding_window=2, layer_types=("sliding_attention",))
    assert windowed.flops(4, Layout([0, 4])) - windowed.flops(4, 0) == (1 + 2 + 2 + 2) * 4 * 16 * 4


_WINDOWS = {"family": "qwen2", "sliding_window": 4, "layer_types": ("sliding_attention", "full_attention", "sliding_attention")}


@pytest.mark.parametrize(
    ("lengths", "parent", "changes"),
    [
        ([1, 1, 1], None, {}), ([7, 1, 12], None, {"num_kv_heads": 1}), ([9, 3, 5], [-1, 0, 0], {}), ([6, 2], None, {"tie_word_embeddings": True}),
        ([9, 2, 5], None, {**_WINDOWS}), ([9, 3, 5], [-1, 0, 0], {**_WINDOWS, "num_kv_heads": 1}),
    ],
)  # fmt: skip
def test_flops_are_those_that_torch_counts(lengths: list[int], parent: list[int] | None, changes: dict[str, Any], monkeypatch) -> None:
    """In float64 attention is the reference: products of whole rectangles, of which a causal mask hides a part that does not count here."""
    monkeypatch.setattr(sys.modules["paradigm.kernels.attention"], "is_traced", lambda: False)  # as one operator its products would not be seen
    policy = make(**changes).double()
    policy.exact = False
    layout = Layout(bounds(lengths), parent=parent)
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter:
            logits = torch.nn.functional.linear(policy(random_tokens(layout.num_tokens), layout), policy.head_weight)
            if backward:
                logits.sum().backward()
        counted = counter.get_flop_counts()["Global"]
        products = counted.pop(torch.ops.aten.bmm)
        before = [0 if p < 0 else lengths[p] for p in parent or [-1] * len(lengths)]
        windows = [policy.config.window(layer) for layer in range(3)]
        # of what precedes a document, the reference leaves out what no query's window reaches
        rectangles = sum(n * (min(p, (window or p + 1) - 1) + n) for window in windows for n, p in zip(lengths, before))
        a_pair = 4 * 4 * 16 * (3 if backward else 1)  # two products, heads, channels
        assert products == rectangles * a_pair
        seen = sum(min(p + i + 1, window or p + n) for window in windows for n, p in zip(lengths, before) for i in range(n))
        assert policy.flops(layout.num_tokens, layout, backward=backward) == sum(counted.values()) + seen * a_pair


def test_wrong_calls() -> None:
    policy = make()
    with pytest.raises(ValueError, match=r"tokens must have shape \[4\], as layout says, got \[5\]"):
        policy(random_tokens(5), Layout([0, 4]))
    layout = Layout.paged(*(torch.tensor(x, dtype=torch.int32) for x in ([0, 1], [0], [1], [0], [[1]])), policy.new_cache(2))
    with pytest.raises(ValueError, match="causal must be True with a paged layout"):
        policy(random_tokens(1), layout, causal=False)
    assert policy.logits(policy(random_tokens(0), Layout([0]))).shape == (0, 96)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "gpt2"}, "family must be one of llama, qwen2, qwen3, got 'gpt2'"),
        ({"num_layers": 0}, "num_layers must be an integer >= 1, got 0"),
        ({"vocab_size": 96.0}, "vocab_size must be an integer >= 1, got 96.0"),
        ({"num_kv_heads": 3}, "num_kv_heads must divide num_heads = 4, got 3"),
        ({"head_dim": 15}, "head_dim must be even for RoPE, got 15"),
        ({"head_dim": None, "hidden_size": 50}, "hidden_size must be a multiple of num_heads = 4 unless head_dim is given, got 50"),
        ({"family": "llama", "hidden_size": 50}, "hidden_size of a llama must be a multiple of num_heads = 4, got 50"),
        ({"rope_theta": -1.0}, "rope_theta must be a number > 0, got -1.0"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps must be a number > 0, got nan"),
        ({"family": "qwen2", "attention_bias": False}, "attention_bias of a qwen2 must be true, got False"),
        ({"mlp_bias": True}, "mlp_bias must be false for qwen3, got True"),
        ({"family": "llama", "qk_norm": True}, "qk_norm must be False for llama, got True"),
        ({"layer_types": ("full_attention",)}, 'layer_types must be "full_attention" or "sliding_attention" for each of 3 layers'),
        ({"layer_types": ("sliding_attention",) * 3}, "sliding_attention layers need sliding_window"),
        ({"dtype": "int8"}, "dtype must be one of float32, bfloat16, float16, got 'int8'"),
        ({"heads": ("value", "value")}, "heads must be distinct identifiers"),
        ({"rope_scaling": {"rope_type": "mrope"}}, r"rope_scaling\['rope_type'\] must be one of default, linear"),
    ],
)
def test_wrong_configs(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyConfig(**{**SHAPE, **changes})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_recomputed_layers_keep_less_and_change_no_bit_of_the_gradient(dtype: str) -> None:
    layout, tokens = Layout(bounds([5, 1, 30])), random_tokens(36)
    kept: list[int] = []
    gradients = []
    for recomputed in range(4):
        policy = make(dtype=dtype)
        policy.recomputed_layers = recomputed
        kept.append(0)

        def pack(tensor: Tensor) -> Tensor:
            kept[-1] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            hidden = policy(tokens, layout)
        hidden.float().square().sum().backward()
        gradients.append([p.grad for p in policy.parameters() if p.grad is not None])
        assert not policy(tokens, layout).detach().ne(hidden).any()
    assert kept[0] > kept[1] > kept[2] > kept[3]
    for others in gradients[1:]:
        assert len(others) == len(gradients[0]) > 20 and all(torch.equal(a, b) for a, b in zip(others, gradients[0]))


def test_a_training_step_runs_in_bf16() -> None:
    policy = make(dtype="bfloat16")
    tokens, layout = random_tokens(40), Layout([0, 25, 40])
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(policy.logits(policy(tokens, layout))[:24], tokens[1:25])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0], losses
