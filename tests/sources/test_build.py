"""The command `paradigm data build`, as the command line mounts it."""

import argparse
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from paradigm.sources.build import add_arguments, run
from paradigm.sources.corpus import Corpus
from paradigm.tokenizer import Tokenizer


def _run(*arguments: object) -> tuple[int, str]:
    parser = argparse.ArgumentParser(prog="paradigm data build")
    add_arguments(parser)
    output = io.StringIO()
    status = run(parser.parse_args([str(argument) for argument in arguments]), Console(file=output, width=200))
    return status, output.getvalue()


def test_build_writes_a_corpus_and_says_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("hello")
    (tmp_path / "in" / "b.bin").write_bytes(b"\0")
    status, output = _run(tmp_path / "in", "--out", tmp_path / "c", "--no-eos")
    assert status == 0
    assert output.splitlines()[:2] == ["1 documents, 6 tokens (uint16, vocabulary 272)", "1 files read, 1 skipped that are not text"]
    assert "\x1b" not in output and "tokenising" not in output  # no progress bar where no terminal is
    assert Corpus.open(tmp_path / "c").document(0).tolist() == [256, *b"hello"]


def test_build_learns_and_uses_vocabularies(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"q": "banana banana banana"}\n' * 9)
    vocabulary = tmp_path / "tok"
    assert _run(tmp_path / "t.jsonl", "--field", "q", "--out", tmp_path / "c", "--train-bpe", 265, "--save-tokenizer", vocabulary)[0] == 0
    tokenizer = Tokenizer.from_pretrained(vocabulary)
    assert Corpus.open(tmp_path / "c", tokenizer=tokenizer).vocab_size == 265
    assert _run(tmp_path / "t.jsonl", "--field", "q", "--out", tmp_path / "d", "--tokenizer", vocabulary)[0] == 0
    assert Corpus.open(tmp_path / "d").fingerprint == Corpus.open(tmp_path / "c").fingerprint


def test_build_takes_the_standard_library(tmp_path: Path) -> None:
    status, output = _run("--standard-library", "--max-bytes", 50_000, "--out", tmp_path / "c")
    assert status == 0 and "files read" in output and Corpus.open(tmp_path / "c").num_tokens > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.txt"], "inputs must be files or folders that exist, got 'nowhere.txt'"),
        ([], "give either inputs or --standard-library"),
        (["x", "--train-bpe", "300"], "--train-bpe needs --save-tokenizer FOLDER"),
        (["x", "--train-bpe", "300", "--tokenizer", "y"], "give either --train-bpe or --tokenizer"),
        (["x", "--tokenizer", "nowhere"], "path must be a folder with tokenizer.json"),
    ],
)
def test_mistakes_are_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    status, output = _run(*arguments, "--out", tmp_path / "c")
    error = capsys.readouterr().err
    assert status == 1 and output == "" and error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "c").exists()


def test_an_existing_corpus_is_only_replaced_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("hello")
    assert _run(tmp_path / "a.txt", "--out", tmp_path / "c")[0] == 0
    assert _run(tmp_path / "a.txt", "--out", tmp_path / "c")[0] == 1 and "already holds a data set" in capsys.readouterr().err
    assert _run(tmp_path / "a.txt", "--out", tmp_path / "c", "--overwrite")[0] == 0


def test_help_explains_itself() -> None:
    script = "import argparse; from paradigm.sources.build import *; p = argparse.ArgumentParser(); add_arguments(p); p.parse_args(['--help'])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parent.parent.parent)
    assert shown.returncode == 0
    for words in ("examples:", "--standard-library", "all or nothing", "--overwrite"):
        assert words in shown.stdout
