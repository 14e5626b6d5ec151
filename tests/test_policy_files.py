"""Policies on disk: round trips, and every bad checkpoint."""

import dataclasses
import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from paradigm import policy as policy_module
from paradigm.policy import Policy
from tests.policy_cases import make


def saved(path: Path, **changes: object) -> Path:
    make(**changes).save_pretrained(path)
    return path


def edit_config(path: Path, **changes: object) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **changes}))


def edit_weights(path: Path, **changes: Tensor | None) -> None:
    tensors = load_file(path / "model.safetensors")
    for name, tensor in changes.items():
        name = name.replace("__", ".")
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
def test_round_trip(dtype: torch.dtype | None, tmp_path: Path) -> None:
    policy = make(dtype="bfloat16", heads=("value",), rope_length=99, rope_scaling={"type": "dynamic", "factor": 2})
    torch.nn.init.normal_(policy.heads["value"].weight, generator=torch.Generator().manual_seed(0))
    policy.save_pretrained(tmp_path / "p")
    again = Policy.from_pretrained(tmp_path / "p", dtype=dtype)
    assert again.head_weight.dtype == (dtype or torch.bfloat16)
    assert dataclasses.replace(again.config, dtype="bfloat16") == policy.config
    for (name, a), (_, b) in zip(policy.named_parameters(), again.named_parameters()):
        assert torch.equal(a.to(b.dtype), b), name


def test_heads_may_be_added_and_dropped(tmp_path: Path) -> None:
    policy = make(heads=("value",))
    torch.nn.init.normal_(policy.heads["value"].weight, generator=torch.Generator().manual_seed(0))
    policy.save_pretrained(tmp_path)
    again = Policy.from_pretrained(tmp_path, heads=("reward", "value"))
    assert torch.equal(again.heads["value"].weight, policy.heads["value"].weight) and not again.heads["reward"].weight.any()
    assert len(Policy.from_pretrained(tmp_path, heads=()).heads) == 0


def test_unknown_config_keys_survive(tmp_path: Path) -> None:
    edit_config(saved(tmp_path / "a"), bos_token_id=256, my_note={"kept": [1, 2]})
    Policy.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["bos_token_id"] == 256 and config["my_note"] == {"kept": [1, 2]}


def test_saving_over_an_earlier_model_keeps_its_tokenizer_and_drops_its_shards(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    make().save_pretrained(folder, max_shard_bytes=30_000)
    assert len(list(folder.glob("model-*"))) > 1
    (folder / "tokenizer.json").write_text("{}")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("kept")
    policy = make(seed=1, num_layers=2)
    policy.save_pretrained(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "mine", "model.safetensors", "tokenizer.json"]
    assert torch.equal(Policy.from_pretrained(folder).head_weight, policy.head_weight)
    policy.save_pretrained(tmp_path / "q", tokenizer=folder)
    assert (tmp_path / "q" / "tokenizer.json").read_text() == "{}"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "q"], "nothing is left beside"


def test_saving_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="path must be new, empty or a saved model"):
        make().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="path must be a folder, got the file"):
        make().save_pretrained(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make()
    policy.save_pretrained(tmp_path / "p")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(policy_module, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        make(seed=1).save_pretrained(tmp_path / "p")
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert torch.equal(Policy.from_pretrained(tmp_path / "p").head_weight, policy.head_weight)


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "pkl"])
def test_pickles_are_refused(suffix: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / f"pytorch_model.{suffix}")
    with pytest.raises(ValueError, match=rf"pytorch_model\.{suffix}, a pickle, which can run code .* convert it to model.safetensors"):
        Policy.from_pretrained(tmp_path)


def test_an_index_may_not_name_pickles_or_other_folders(tmp_path: Path) -> None:
    for file in ("pytorch_model.bin", "../elsewhere.safetensors"):
        folder = saved(tmp_path / str(len(file)))
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": file}}))
        with pytest.raises(ValueError, match="must name safetensors files in its own folder"):
            Policy.from_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_files(keep: int, tmp_path: Path) -> None:
    file = saved(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a whole safetensors file \(truncated or damaged\)"):
        Policy.from_pretrained(tmp_path)


def test_a_damaged_header(tmp_path: Path) -> None:
    file = saved(tmp_path) / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[20] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        Policy.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"model__norm__weight": None}, r"must hold model\.norm\.weight, as the config says; 1 tensors are missing"),
        ({"model__layers__7__extra": torch.zeros(1)}, r"model\.safetensors: model\.layers\.7\.extra is not a tensor of a qwen3"),
        ({"model__norm__weight": torch.zeros(47)}, r"model\.norm\.weight must have shape \[48\], as the config says, got \[47\]"),
        ({"model__norm__weight": torch.zeros(48, dtype=torch.int8)}, r"model\.norm\.weight must be of floating-point type, .* got torch.int8"),
    ],
)
def test_wrong_tensors(edit: dict, message: str, tmp_path: Path) -> None:
    edit_weights(saved(tmp_path), **edit)
    with pytest.raises(ValueError, match=message):
        Policy.from_pretrained(tmp_path)


def test_wrong_shards(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    make().save_pretrained(folder, max_shard_bytes=30_000)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = folder / index["weight_map"]["model.norm.weight"]
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(ValueError, match=rf"{shard.name} is missing"):
        Policy.from_pretrained(folder)
    shard.write_bytes(content)
    moved = {**index["weight_map"], "model.norm.weight": index["weight_map"]["model.embed_tokens.weight"]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": moved}))
    with pytest.raises(ValueError, match=r"must hold model\.norm\.weight, as .*index.json says|holds model\.norm\.weight, which"):
        Policy.from_pretrained(folder)
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json must be JSON"):
        Policy.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, r"must be of LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, got .*GPT2LMHeadModel"),
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, r"_norm\.weight is not a tensor of a llama of this config"),
        ({"hidden_act": "gelu"}, "hidden_act must be silu, got 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config; weights must be plain floating point"),
        ({"num_hidden_layers": 2}, r"model\.layers\.2\..* is not a tensor of a qwen3 of this config"),
        ({"num_hidden_layers": 4, "layer_types": None}, r"must hold model\.layers\.3\."),
        ({"num_hidden_layers": "three"}, "num_layers must be an integer >= 1, got 'three'"),
        ({"tie_word_embeddings": True}, r"lm_head\.weight must equal model\.embed_tokens\.weight, as tie_word_embeddings says"),
        ({"paradigm_heads": ["value"]}, r"heads\.safetensors is missing"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor'] must be 1"),
    ],
)
def test_wrong_config_files(changes: dict, message: str, tmp_path: Path) -> None:
    if changes.get("num_hidden_layers") == 2:
        changes = {**changes, "layer_types": None}
    edit_config(saved(tmp_path), **changes)
    with pytest.raises(ValueError, match=message):
        Policy.from_pretrained(tmp_path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path must be a folder with config.json and model.safetensors"):
        Policy.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"must hold config.json, found nothing"):
        Policy.from_pretrained(tmp_path)
    saved(tmp_path / "p")
    (tmp_path / "p" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"must hold model.safetensors or model.safetensors.index.json, found config.json"):
        Policy.from_pretrained(tmp_path / "p")
    (tmp_path / "p" / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json must hold a JSON object, got list"):
        Policy.from_pretrained(tmp_path / "p")
