"""GGUF: every family written with the gguf package as llama.cpp's converter does, read back; and SmolLM2 continues a sentence."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from paradigm.kernels.layout import Layout
from paradigm.policy import Policy
from paradigm.policy_config import PolicyConfig

gguf = pytest.importorskip("gguf", reason='needs pip install "paradigm-trainer[gguf]"')
from paradigm.interop.gguf import convert_gguf, load_gguf, load_smollm2, smollm2_path  # noqa: E402

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
TOKENS = ["<|end|>", "!!", *[chr(c) for c in range(33, 63)]]


def make(family: str, **changes: object) -> Policy:
    shape = {"vocab_size": 32, "hidden_size": 64, "intermediate_size": 96, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2}
    return Policy(PolicyConfig(**{**shape, "family": family, "max_position_embeddings": 128, **changes}), seed=1)


def write(policy: Policy, path: Path, kind: "gguf.GGMLQuantizationType | None" = None, **metadata: object) -> None:
    """What llama.cpp's convert_hf_to_gguf.py writes."""
    config = policy.config
    writer = gguf.GGUFWriter(str(path), config.family)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model(metadata.get("model", "gpt2"))
    writer.add_tokenizer_pre(metadata.get("pre", "smollm"))
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] + [1] * 31)
    writer.add_token_merges(metadata.get("merges", ["! !"]))
    writer.add_eos_token_id(0)
    if "factor" in metadata:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(metadata["factor"])
    if "divisors" in metadata:
        writer.add_tensor("rope_freqs.weight", np.array(metadata["divisors"], dtype=np.float32))
    for name, parameter in policy.named_parameters():
        stem, _, part = name.rpartition(".")
        if stem.startswith("model.layers."):
            layer, stem = stem.removeprefix("model.layers.").split(".", 1)
            short = f"blk.{layer}.{NAMES[stem]}.{part}"
        else:
            short = f"{NAMES[stem]}.{part}"
        array = parameter.detach().numpy()
        if config.family == "llama" and stem in ("self_attn.q_proj", "self_attn.k_proj"):
            heads = config.num_heads if "q_proj" in stem else config.num_kv_heads
            array = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        if kind is not None and array.ndim == 2:
            writer.add_tensor(short, gguf.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)
        else:
            writer.add_tensor(short, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


FORMS = [
    ("llama", {}), ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}), ("qwen2", {}), ("qwen3", {"head_dim": 32}),
]


@pytest.mark.parametrize(("family", "changes"), FORMS)
def test_every_family_comes_back_exactly(family: str, changes: dict, tmp_path: Path) -> None:
    policy = make(family, **changes)
    for parameter in policy.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    write(policy, tmp_path / "m.gguf")
    again, _ = load_gguf(tmp_path / "m.gguf")
    assert again.config.tie_word_embeddings == policy.config.tie_word_embeddings
    for name, parameter in policy.state_dict().items():
        assert torch.equal(parameter, again.state_dict()[name]), name


@pytest.mark.parametrize(("kind", "error"), [("F16", 1e-3), ("BF16", 5e-3), ("Q8_0", 0.01), ("Q4_1", 0.1), ("Q4_0", 0.15)])
def test_quantised_weights(kind: str, error: float, tmp_path: Path) -> None:
    policy = make("llama")
    write(policy, tmp_path / "m.gguf", gguf.GGMLQuantizationType[kind])
    again, _ = load_gguf(tmp_path / "m.gguf", dtype=torch.float32)
    for name, parameter in policy.named_parameters():
        difference = (parameter - again.state_dict()[name]).norm() / parameter.norm()
        assert difference < error, name


def test_rope_scalings(tmp_path: Path) -> None:
    policy = make("llama")
    write(policy, tmp_path / "linear.gguf", factor=4.0)
    assert load_gguf(tmp_path / "linear.gguf")[0].config.rope_scaling == {"rope_type": "linear", "factor": 4.0}
    divisors = [1.0, 1.0, 2.0, 2.5, 4.0, 8.0, 8.0, 8.0]
    write(policy, tmp_path / "llama3.gguf", divisors=divisors)
    scaled, _ = load_gguf(tmp_path / "llama3.gguf")
    cos, _ = scaled.rotary(torch.tensor([50]))
    wanted = 50 * 10000.0 ** -(torch.arange(8) / 8) / torch.tensor(divisors)
    torch.testing.assert_close(cos[0], wanted.cos(), rtol=0, atol=1e-5)


def test_convert_writes_a_folder_that_opens(tmp_path: Path) -> None:
    policy = make("qwen3")
    write(policy, tmp_path / "m.gguf")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "folder", dtype=torch.float16)
    again = Policy.from_pretrained(tmp_path / "folder")
    assert again.head_weight.dtype == torch.float16
    assert torch.equal(again.head_weight, policy.head_weight.half())
    tokenizer = Tokenizer.from_file(str(tmp_path / "folder" / "tokenizer.json"))
    assert tokenizer.encode("<|end|>12").ids == [0, TOKENS.index("1"), TOKENS.index("2")]
    assert tokenizer.encode("!!!").ids == [1, 2]


def test_wrong_files(tmp_path: Path) -> None:
    policy = make("llama")
    write(policy, tmp_path / "m.gguf")
    content = (tmp_path / "m.gguf").read_bytes()
    with pytest.raises(ValueError, match="path must be a GGUF file"):
        load_gguf(tmp_path / "none.gguf")
    for damaged in (b"", b"GGML" + content[4:], content[:200], content[:-500]):
        (tmp_path / "bad.gguf").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"bad\.gguf is not a whole GGUF file"):
            load_gguf(tmp_path / "bad.gguf")
    write(policy, tmp_path / "spm.gguf", model="llama")
    with pytest.raises(ValueError, match=r"spm\.gguf: tokenizer\.ggml\.model must be gpt2 \(byte-level BPE\), got 'llama'"):
        load_gguf(tmp_path / "spm.gguf")
    write(policy, tmp_path / "pre.gguf", pre="mystery")
    with pytest.raises(ValueError, match=r"tokenizer\.ggml\.pre must be one of gpt-2, smollm, llama-bpe, qwen2, got 'mystery'"):
        load_gguf(tmp_path / "pre.gguf")
    write(policy, tmp_path / "merge.gguf", merges=["! ?"])
    with pytest.raises(ValueError, match=r"must join tokens of tokenizer.ggml.tokens into one, got '! \?'"):
        load_gguf(tmp_path / "merge.gguf")
    (tmp_path / "other.gguf").write_bytes(content.replace(b"llama", b"gemma"))
    with pytest.raises(ValueError, match=r"general\.architecture must be one of llama, qwen2, qwen3, got 'gemma'"):
        load_gguf(tmp_path / "other.gguf")


def test_without_the_extra() -> None:
    script = "import sys; sys.modules['gguf'] = None\nimport paradigm.interop.gguf"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and 'ImportError: paradigm.interop.gguf needs the gguf package: pip install "paradigm-trainer[gguf]"' in done.stderr


def test_smollm2_continues_a_sentence() -> None:
    try:
        smollm2_path()
    except ImportError as error:
        pytest.skip(str(error))
    policy, text = load_smollm2()
    assert sum(p.numel() for p in policy.parameters()) == 134_515_008
    tokenizer = Tokenizer.from_str(text)
    ids = tokenizer.encode("The capital of France is").ids
    assert ids == [504, 3575, 282, 4649, 314]
    with torch.no_grad():
        for _ in range(2):
            ids.append(int(policy.logits(policy(torch.tensor(ids), Layout([0, len(ids)]))[-1:]).argmax()))
    assert tokenizer.decode(ids) == "The capital of France is Paris."
    for sentence in ("Twelve is 12, isn't it?\n\n  Naïve café — 日本語 😀", "def f(x):\n\treturn x"):
        assert tokenizer.decode(tokenizer.encode(sentence).ids) == sentence
    assert tokenizer.encode("<|im_start|>user").ids[0] == 1 and tokenizer.encode("907").tokens == ["9", "0", "7"]
