import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from paradigm import checkpoint
from paradigm.checkpoint import CheckpointError, checkpoints, latest, load_checkpoint, prune, save_checkpoint, verify

ROOT = Path(__file__).parent.parent


def state(step):
    return {
        "learner": {"step": step, "weights": {"a": torch.full((300,), float(step)), "b": torch.tensor(step, dtype=torch.bfloat16)}},
        "sampler": {"key": (1, step), "cursor": np.arange(step), "none": None},
    }


def assert_is_state(loaded, step):
    assert loaded["learner"]["step"] == step and loaded["sampler"]["key"] == (1, step) and loaded["sampler"]["none"] is None
    assert torch.equal(loaded["learner"]["weights"]["a"], torch.full((300,), float(step)))
    assert loaded["learner"]["weights"]["b"].dtype == torch.bfloat16
    np.testing.assert_array_equal(loaded["sampler"]["cursor"], np.arange(step))


def hidden(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_what_is_saved_is_loaded_and_listed(tmp_path):
    def write_files(folder):
        (folder / "policy").mkdir()
        (folder / "policy" / "config.json").write_text("{}")

    save_checkpoint(tmp_path / "run" / "step-3", state(3), write_files)
    assert_is_state(load_checkpoint(tmp_path / "run" / "step-3"), 3)
    assert set(load_checkpoint(tmp_path / "run" / "step-3", ["sampler"])) == {"sampler"}
    manifest = verify(tmp_path / "run" / "step-3")
    assert set(manifest["files"]) == {
        "learner.json", "learner.safetensors", "sampler.json", "sampler.safetensors", "policy/config.json"
    }  # fmt: skip
    assert hidden(tmp_path / "run") == []


def test_a_checkpoint_is_replaced(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path / "last", state(step))
        assert_is_state(load_checkpoint(tmp_path / "last"), step)
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_latest_is_the_last_written_whatever_its_name_and_time(tmp_path):
    assert latest(tmp_path) is None and latest(tmp_path / "absent") is None
    for step, name in enumerate(("step-20", "step-100", "imitate-1")):
        save_checkpoint(tmp_path / name, state(step))
    os.utime(tmp_path / "step-20", (4e9, 4e9))
    assert latest(tmp_path) == tmp_path / "imitate-1"
    assert [p.name for p in checkpoints(tmp_path)] == ["step-20", "step-100", "imitate-1"]
    (tmp_path / "imitate-1" / "learner.safetensors").unlink()
    assert latest(tmp_path) == tmp_path / "step-100"


def test_prune_keeps_the_newest(tmp_path):
    for step in range(4):
        save_checkpoint(tmp_path / f"step-{step}", state(step))
    removed = prune(tmp_path, keep=2)
    assert [p.name for p in removed] == ["step-0", "step-1"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-2", "step-3"]
    with pytest.raises(ValueError, match="keep must be >= 1, got 0"):
        prune(tmp_path, keep=0)


@pytest.mark.parametrize("name", ["learner.json", "learner.safetensors", "manifest.json"])
def test_one_flipped_bit_is_found(tmp_path, name):
    save_checkpoint(tmp_path / "c", state(3))
    file = tmp_path / "c" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} .*(is damaged: expected SHA-256 [0-9a-f]{{64}}, found [0-9a-f]{{64}}|must hold JSON)"):
        load_checkpoint(tmp_path / "c")


def test_missing_truncated_and_foreign_checkpoints_are_refused(tmp_path):
    path = tmp_path / "c"
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(path)
    path.mkdir()
    (path / "model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"must hold manifest.json, found model.bin"):
        load_checkpoint(path)
    save_checkpoint(path, state(3))
    with pytest.raises(CheckpointError, match=r"must hold the parts \['critic'\], found \['learner', 'sampler'\]"):
        load_checkpoint(path, ["critic"])
    size = (path / "learner.safetensors").stat().st_size
    os.truncate(path / "learner.safetensors", size - 10)
    with pytest.raises(CheckpointError, match=f"learner.safetensors is damaged: expected {size} bytes, found {size - 10}"):
        load_checkpoint(path)
    (path / "learner.safetensors").unlink()
    with pytest.raises(CheckpointError, match=f"expected learner.safetensors of {size} bytes, found no such file"):
        load_checkpoint(path)


def test_another_format_version_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", state(3))
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    cases = (({"version": 2}, "format version 1, found 2"), ({"format": "other"}, "must say format 'paradigm-checkpoint', found 'other'"))
    for change, message in cases:
        (tmp_path / "c" / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tmp_path / "c")


def test_pickles_are_never_loaded(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights.pt, a pickle, .* never loaded"):
        load_checkpoint(tmp_path / "weights.pt")
    # with checksums that agree, as whoever offers it could arrange
    save_checkpoint(tmp_path / "c", state(3))
    (tmp_path / "c" / "learner.safetensors").write_bytes((tmp_path / "weights.pt").read_bytes())
    reseal(tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"learner.safetensors must be a safetensors file, found a pickle"):
        load_checkpoint(tmp_path / "c")


def reseal(path):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").unlink()
    checkpoint._write_manifest(path, manifest["parts"], manifest["sequence"])


def test_a_truncated_safetensors_file_is_refused_even_if_sealed(tmp_path):
    save_checkpoint(tmp_path / "c", state(3))
    os.truncate(tmp_path / "c" / "learner.safetensors", 40)
    reseal(tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"learner.safetensors must be a safetensors file"):
        load_checkpoint(tmp_path / "c")


def test_bad_names_and_state_leave_nothing_behind(tmp_path):
    for name in ("manifest", "../up", "a b", ""):
        with pytest.raises(ValueError, match="parts must be named"):
            save_checkpoint(tmp_path / "c", {name: {}})
    with pytest.raises(TypeError, match="state at 'x' must be"):
        save_checkpoint(tmp_path / "c", {"ok": {"y": torch.ones(2)}, "bad": {"x": object()}})
    with pytest.raises(ValueError, match=r"write_files must not write learner.json"):
        save_checkpoint(tmp_path / "c", state(1), lambda folder: (folder / "learner.json").write_text("{}"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="path must be a folder or not exist, got the file"):
        save_checkpoint(tmp_path / "file", state(1))


@pytest.mark.parametrize("fails_at", range(0, 12, 2))
def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, fails_at):
    save_checkpoint(tmp_path / "last", state(3))
    real, calls = os.fsync, 0

    def fsync(descriptor):
        nonlocal calls
        calls += 1
        if calls > fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    try:
        save_checkpoint(tmp_path / "last", state(4))
    except OSError as error:
        assert error.errno == errno.ENOSPC
        monkeypatch.setattr(os, "fsync", real)
        # the last flush, of the parent folder, comes after the new one took its place
        assert load_checkpoint(latest(tmp_path))["learner"]["step"] == (4 if calls == 7 else 3)
    else:
        assert calls == 7
        assert_is_state(load_checkpoint(tmp_path / "last"), 4)
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_a_write_that_the_disk_refuses_half_way(tmp_path):
    save_checkpoint(tmp_path / "last", state(3))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # fails inside the safetensors writer, as a full disk does
    try:
        with pytest.raises(OSError, match=r"big.safetensors could not be written"):
            save_checkpoint(tmp_path / "last", {"big": {"x": torch.zeros(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["last"]
    assert_is_state(load_checkpoint(tmp_path / "last"), 3)


def test_a_crash_between_the_two_renames_is_undone(tmp_path):
    save_checkpoint(tmp_path / "last", state(3))
    os.rename(tmp_path / "last", tmp_path / ".last.replaced-0123abcd")
    assert_is_state(load_checkpoint(tmp_path / "last"), 3)
    os.rename(tmp_path / "last", tmp_path / ".last.replaced-0123abcd")
    assert latest(tmp_path) == tmp_path / "last"
    assert hidden(tmp_path) == []


def test_what_a_live_process_is_writing_is_left_alone(tmp_path):
    def write_files(folder):
        assert latest(tmp_path) is None
        assert folder.is_dir()

    save_checkpoint(tmp_path / "c", state(3), write_files)
    dead = tmp_path / ".c.partial-0123abcd"
    dead.mkdir()
    (dead / "learner.json").write_text("{")
    assert latest(tmp_path) == tmp_path / "c"
    assert not dead.exists()


WRITER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from paradigm.checkpoint import latest, load_checkpoint, prune, save_checkpoint
torch.set_num_threads(1)
folder = Path(sys.argv[1])
for _ in range(12):
    child = os.fork()
    if child == 0:
        step = load_checkpoint(latest(folder))["a"]["step"] if latest(folder) else 0
        while True:
            step += 1
            state = {"a": {"step": step, "x": torch.full((20000,), float(step))}, "b": {"y": torch.full((20000,), float(step)), "step": step}}
            save_checkpoint(folder / ("last" if step % 2 else f"step-{step}"), state)
            prune(folder, keep=2)
    time.sleep(random.uniform(0.005, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    newest = latest(folder)
    if newest is None:
        continue
    loaded = load_checkpoint(newest)
    step = loaded["a"]["step"]
    assert loaded["b"]["step"] == step
    assert bool((loaded["a"]["x"] == step).all()) and bool((loaded["b"]["y"] == step).all())
    assert not [p for p in folder.iterdir() if p.name.startswith(".")], list(folder.iterdir())
    print(step, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert result.returncode == 0, result.stderr
    steps = [int(line) for line in result.stdout.split()]
    assert len(steps) >= 6 and steps == sorted(steps), "what was whole is never lost"
    assert steps[-1] > steps[0]
