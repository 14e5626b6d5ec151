"""The data set format: what is written comes back, damage is named, and a build that dies leaves nothing that looks valid."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from paradigm.sources import shards
from paradigm.sources.corpus import Corpus, build_corpus, write_corpus
from paradigm.sources.shards import CorruptShardError, ShardWriter, read_manifest
from paradigm.tokenizer import Tokenizer
from paradigm.trajectory import SCALAR_FIELDS, TOKEN_FIELDS, TrajectoryBuffer

ROOT = Path(__file__).parent.parent.parent
TOKENIZER = Tokenizer()
TEXTS = [f"document {i}: " + "ab " * (i % 7) for i in range(40)]


def _corpus(path: Path, texts: list[str] = TEXTS) -> Corpus:
    return write_corpus(texts, path, TOKENIZER, shard_tokens=200, overwrite=True)


def _names(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def random_buffer(rng: np.random.Generator, lengths: list[int]) -> TrajectoryBuffer:
    """Trajectories with every field set to something that is not its default."""
    n, count = sum(lengths), len(lengths)
    mask = rng.random(n) < 0.6
    return TrajectoryBuffer.from_arrays(
        rng.integers(0, 272, n), np.cumsum([0, *lengths]), action_mask=mask, segment=rng.integers(0, 5, n), modality=rng.integers(0, 3, n),
        decision=rng.integers(-1, 9, n), version=rng.integers(0, 9, n), rewards=rng.random(n), logprobs=-rng.random(n), kept_logmass=-rng.random(n),
        support=rng.integers(-1, 4, n), support_table=rng.integers(0, 2**32, (4, 9)), values=rng.random(n), index=rng.permutation(count) + 5,
        group=rng.integers(0, 3, count), task=rng.integers(0, 3, count), seat=rng.integers(0, 2, count), parent=rng.integers(-1, 2, count),
        stop_reason=rng.integers(0, 5, count), terminated=rng.random(count) < 0.5, truncated=rng.random(count) < 0.5,
        failed=rng.random(count) < 0.2, temperature=rng.random(count), tasks=[b"\x00\xff", "sum", {"a": [1]}], key=(3, 4), environment="arithmetic",
        extras={0: {"verdict": 0.5}},
    )  # fmt: skip


def assert_same(one: TrajectoryBuffer, other: TrajectoryBuffer) -> None:
    """Equal in all that a trajectory tells, however tasks and masks are numbered."""
    assert one.offsets.tolist() == other.offsets.tolist()
    for name in (*TOKEN_FIELDS, *SCALAR_FIELDS):
        if name not in ("support", "task", "group"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert (one.values is None) == (other.values is None)
    assert one.values is None or np.array_equal(one.values, other.values)
    assert [t.task for t in one] == [t.task for t in other] and [t.extras for t in one] == [t.extras for t in other]
    for a, b in zip(one.support.tolist(), other.support.tolist()):
        assert (a < 0) == (b < 0) and (a < 0 or np.array_equal(one.support_table[a], other.support_table[b]))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_trajectories_come_back_whole(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], seed: int) -> None:
    buffer = random_buffer(np.random.default_rng(seed), lengths)
    out = tmp_path_factory.mktemp("data") / "set"
    with ShardWriter(out, kind="trajectories", vocab_size=272, tokenizer="") as writer:
        writer.write_trajectories(buffer)
        writer.commit()
    corpus = Corpus.open(out)
    back = corpus.buffer(np.arange(len(corpus)))
    assert_same(back, buffer)
    assert (back.key, back.environment) == (buffer.key, buffer.environment)
    assert np.array_equal(back.group, buffer.group)


def test_defaults_cost_nothing_and_shards_are_plain_safetensors(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c")
    assert len(corpus.shards) > 3 and len(corpus) == len(TEXTS)
    for entry in corpus.manifest["shards"]:
        arrays = load_file(tmp_path / "c" / entry["file"])
        assert sorted(arrays) == ["offsets", "tokens"] and arrays["tokens"].dtype == np.uint16
    for i, text in enumerate(TEXTS):
        assert TOKENIZER.decode(corpus.document(i), skip_special=True) == text
        assert corpus.document(i)[[0, -1]].tolist() == [256, 257]


def test_large_vocabularies_use_wide_tokens(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "c", kind="documents", vocab_size=70_000, tokenizer="") as writer:
        writer.write_documents([np.array([69_999, 0])])
        with pytest.raises(ValueError, match=r"tokens must be in \[0, 70000\), got 70000"):
            writer.write_documents([np.array([70_000])])
        assert writer.commit()["dtype"] == "uint32"
    assert Corpus.open(tmp_path / "c").document(0).tolist() == [69_999, 0]


@pytest.mark.parametrize("where", ["header", "tokens", "middle"])
def test_a_flipped_bit_is_found_at_first_touch_and_the_shard_named(tmp_path: Path, where: str) -> None:
    corpus = _corpus(tmp_path / "c")
    victim = corpus.shards[2].path
    data = bytearray(victim.read_bytes())
    data[{"header": 20, "tokens": -1, "middle": len(data) // 2}[where]] ^= 1
    victim.write_bytes(data)
    damaged = Corpus.open(tmp_path / "c")
    assert damaged.document(0).size  # the other shards are still good
    with pytest.raises(CorruptShardError, match=rf"{victim.name} is damaged: its SHA-256"):
        damaged.buffer(np.arange(len(damaged)))


def test_cut_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c")
    victim = corpus.shards[1].path
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])
    with pytest.raises(CorruptShardError, match=f"{victim.name} has {len(whole) - 1} bytes"):
        Corpus.open(tmp_path / "c")
    victim.unlink()
    with pytest.raises(FileNotFoundError, match=f"{victim.name} is missing"):
        Corpus.open(tmp_path / "c")
    manifest = tmp_path / "c" / "manifest.json"
    text = manifest.read_text()
    for broken, message in [
        (text.replace('"num_tokens": ', '"num_tokens": 1', 1), "does not match its own SHA-256"),
        (text[:-30], "is damaged"),
        ("{}", "is not the manifest of a data set"),
        (text.replace('"version": 1', '"version": 2'), "format version 2"),
    ]:
        manifest.write_text(broken)
        with pytest.raises(ValueError, match=message):
            Corpus.open(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        Corpus.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no manifest\.json"):
        Corpus.open(tmp_path / "empty")


def test_unverified_reading_skips_the_hash(tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "c")
    data = bytearray(corpus.shards[0].path.read_bytes())
    data[-2] ^= 1
    corpus.shards[0].path.write_bytes(data)
    last = int(corpus.document_starts[1]) - 1
    assert Corpus.open(tmp_path / "c", verify=False).document(last)[-1] == 256


@pytest.mark.parametrize("failing_write", range(0, 12, 2))
def test_a_full_disk_leaves_nothing_new_and_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_write: int) -> None:
    old = _corpus(tmp_path / "old")
    before = _names(tmp_path / "old")
    writes = 0

    def full(file, part) -> None:
        nonlocal writes
        writes += 1
        if writes > failing_write:
            file.write(bytes(part)[: len(part) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(part)

    monkeypatch.setattr(shards, "_write_part", full)
    for name in ("old", "new"):
        writes = 0
        with pytest.raises(OSError, match="No space left"):
            write_corpus(["other text " * 20] * 3, tmp_path / name, TOKENIZER, shard_tokens=1, overwrite=True)
    assert not (tmp_path / "new").exists()
    assert _names(tmp_path / "old") == before
    assert [Corpus.open(tmp_path / "old").document(i).tolist() for i in range(3)] == [old.document(i).tolist() for i in range(3)]


def test_a_full_disk_at_the_manifest_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _corpus(tmp_path / "c")
    before = _names(tmp_path / "c")

    def full(file, part) -> None:
        if b'"format"' in bytes(part):
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(part)

    monkeypatch.setattr(shards, "_write_part", full)
    with pytest.raises(OSError, match="No space left"):
        _corpus(tmp_path / "c", TEXTS[:9])
    assert _names(tmp_path / "c") == before and len(Corpus.open(tmp_path / "c")) == len(TEXTS)


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    def texts():
        yield "a" * (2 << 20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(texts(), tmp_path / "c", TOKENIZER, shard_tokens=100)
    assert _names(tmp_path) == []


def test_overwriting_swaps_and_removes_the_old_shards(tmp_path: Path) -> None:
    _corpus(tmp_path / "c")
    with pytest.raises(FileExistsError, match="already holds a data set"):
        write_corpus(TEXTS, tmp_path / "c", TOKENIZER)
    new = _corpus(tmp_path / "c", ["one"])
    assert _names(tmp_path / "c") == ["manifest.json", new.manifest["shards"][0]["file"]]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").write_text("x")
    with pytest.raises(FileExistsError, match=r"holds 'thesis\.doc'"):
        _corpus(tmp_path / "mine")
    assert _names(tmp_path / "mine") == ["thesis.doc"]


def test_two_builds_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "c", kind="documents", vocab_size=272, tokenizer="") as writer:
        with pytest.raises(BlockingIOError, match="written by another process"):
            _corpus(tmp_path / "c")
        writer.write_documents([np.array([1, 2])])
        writer.commit()
    assert len(Corpus.open(tmp_path / "c")) == 1


@pytest.mark.parametrize("old", [False, True], ids=["fresh", "over-an-old-one"])
def test_a_killed_build_leaves_no_valid_manifest_or_the_old_one(tmp_path: Path, old: bool) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for i in range(50):
        (source / f"{i}.txt").write_text("some text\n" * 3000)
    out = tmp_path / "c"
    if old:
        _corpus(out)
    script = """
import sys, time
from paradigm.sources.corpus import build_corpus
from paradigm.tokenizer import Tokenizer
print("started", flush=True)
build_corpus([sys.argv[1]], sys.argv[2], Tokenizer(), shard_tokens=1000, overwrite=True, progress=lambda p: time.sleep(0.02))
"""
    process = subprocess.Popen([sys.executable, "-c", script, source, out], cwd=ROOT, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(out.glob(".partial-*/shard-*")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert list(out.glob(".partial-*/shard-*"))
    if old:
        assert len(Corpus.open(out)) == len(TEXTS)
    else:
        with pytest.raises(FileNotFoundError, match="an interrupted build"):
            Corpus.open(out)
    again = build_corpus([source], out, TOKENIZER, overwrite=True)
    assert len(again) == 50 and not list(out.glob(".partial-*")) and len(_names(out)) == 1 + len(again.shards)


def test_the_manifest_vouches_for_itself(tmp_path: Path) -> None:
    manifest = _corpus(tmp_path / "c").manifest
    assert manifest == read_manifest(tmp_path / "c")
    assert manifest["num_tokens"] == sum(len(t) + 2 for t in TEXTS) and manifest["tokenizer_sha256"] == TOKENIZER.fingerprint
