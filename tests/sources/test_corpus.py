"""Building a corpus from files and folders, and opening it."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paradigm.sources.corpus import BuildProgress, Corpus, build_corpus, input_texts
from paradigm.sources.standard_library import standard_library_corpus
from paradigm.tokenizer import Tokenizer

TOKENIZER = Tokenizer()


def _texts(corpus: Corpus) -> list[str]:
    return [TOKENIZER.decode(corpus.document(i), skip_special=True) for i in range(len(corpus))]


def _folder(path: Path) -> Path:
    files = {"b.txt": "bravo", "a/z.md": "zulu", "a/y.txt": "größer", "a/skip.bin": b"\0\1", "a/latin.txt": "grö".encode("latin-1"), "e.txt": ""}
    files |= {".hidden/x.txt": "hidden", "c.jsonl": '{"text": "one"}\n\n{"text": "two", "n": 1}\n'}
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_folders_are_read_in_order_and_binaries_skipped(tmp_path: Path) -> None:
    source = _folder(tmp_path / "in")
    corpus = build_corpus([source, source / "b.txt"], tmp_path / "c", TOKENIZER, provenance={"why": "test"})
    assert _texts(corpus) == ["bravo", "one", "two", "größer", "zulu", "bravo"]
    manifest = corpus.manifest
    assert manifest["provenance"]["why"] == "test" and manifest["provenance"]["num_skipped_files"] == 2
    assert manifest["provenance"]["skipped_files"] == [str(source / "a/latin.txt"), str(source / "a/skip.bin")]
    assert manifest["sources"][0] == {
        "path": str(source / "b.txt"), "sha256": hashlib.sha256(b"bravo").hexdigest(), "bytes": 5, "num_documents": 1,
    }  # fmt: skip
    assert [entry["num_documents"] for entry in manifest["sources"]] == [1, 2, 0, 1, 1, 1]
    only = build_corpus([source], tmp_path / "d", TOKENIZER, extensions=["md", ".jsonl"])
    assert _texts(only) == ["one", "two", "zulu"]
    assert list(input_texts([source], extensions=[".md"])) == ["zulu"]


def test_building_is_a_pure_function_of_the_text(tmp_path: Path) -> None:
    source = _folder(tmp_path / "in")
    one, two = (build_corpus([source], tmp_path / name, TOKENIZER) for name in ("c", "d"))
    assert one.fingerprint == two.fingerprint != build_corpus([source / "b.txt"], tmp_path / "e", TOKENIZER).fingerprint


def test_a_corpus_inside_its_own_input_is_not_read(tmp_path: Path) -> None:
    source = _folder(tmp_path / "in")
    first = build_corpus([source], source / "corpus", TOKENIZER)
    assert _texts(build_corpus([source], source / "corpus", TOKENIZER, overwrite=True)) == _texts(first)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=400), st.integers(16, 40))
@settings(max_examples=60, deadline=None)
def test_long_files_are_cut_between_characters_and_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    folder = tmp_path_factory.mktemp("long")
    (folder / "t.txt").write_bytes(text.encode())
    if text.encode().decode("utf-8-sig") == "":
        return
    corpus = build_corpus([folder / "t.txt"], folder / "c", TOKENIZER, max_document_bytes=size, shard_tokens=50)
    pieces = _texts(corpus)
    assert "".join(pieces) == text.encode().decode("utf-8-sig")
    assert all(len(piece.encode()) <= size for piece in pieces)


def test_lines_stay_whole_where_there_are_lines(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("".join(f"line {i}\n" for i in range(100)))
    corpus = build_corpus([tmp_path / "t.txt"], tmp_path / "c", TOKENIZER, max_document_bytes=64, bos=False, eos=False)
    assert len(corpus) > 10 and all(text.endswith("\n") for text in _texts(corpus))
    assert 256 not in corpus.document(0) and corpus.manifest["provenance"]["bos_id"] is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"text": "a"}\n{"txt": "b"}', r"x\.jsonl:2: field 'text' must be a string, got fields \['txt'\]"),
        ("x.jsonl", '{"text": "a"}\n{"text', r"x\.jsonl:2: not JSON"),
        ("x.jsonl", "[1]", r"x\.jsonl:1: must be a JSON object, got list"),
        ("x.txt", b"\xff\xfe", r"x\.txt is not UTF-8"),
        ("x.txt", b"a\0b", r"x\.txt holds NUL bytes"),
        ("x.txt", b"abc\xe2\x82", r"x\.txt is not UTF-8"),
        ("x.txt", b"", "inputs must hold text, got none in 1 files"),
    ],
)
def test_bad_inputs_are_named_and_leave_nothing(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        build_corpus([tmp_path / name], tmp_path / "c", TOKENIZER)
    assert not (tmp_path / "c").exists()


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"got .*nowhere\.txt"):
        build_corpus([tmp_path / "nowhere.txt"], tmp_path / "c", TOKENIZER)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("hello")
    build_corpus([tmp_path / "t.txt"], tmp_path / "c", TOKENIZER)
    assert len(Corpus.open(tmp_path / "c", tokenizer=Tokenizer())) == 1
    with pytest.raises(ValueError, match="was built with tokenizer"):
        Corpus.open(tmp_path / "c", tokenizer=Tokenizer.train_bpe(["hello"], 270))


def test_learned_vocabularies_and_progress(tmp_path: Path) -> None:
    text = "the cat sat on the mat\n" * 400
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"body": text}) for _ in range(3)))
    tokenizer = Tokenizer.train_bpe([text], 280)
    seen: list[BuildProgress] = []
    corpus = build_corpus([tmp_path / "t.jsonl"], tmp_path / "c", tokenizer, field="body", progress=seen.append)
    assert [tokenizer.decode(corpus.document(i), skip_special=True) for i in range(3)] == [text] * 3
    assert seen[-1].bytes_read == seen[-1].total_bytes == (tmp_path / "t.jsonl").stat().st_size
    assert seen[-1].num_tokens == corpus.num_tokens and [p.bytes_read for p in seen] == sorted(p.bytes_read for p in seen)


def test_reading_across_shards_keeps_the_order_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": f"<{i}>" * (i + 1)}) for i in range(20)))
    corpus = build_corpus([tmp_path / "t.jsonl"], tmp_path / "c", TOKENIZER, shard_tokens=100)
    wanted = [17, 0, 9, 9, 3, 19]
    assert [t.tokens.tolist() for t in corpus.buffer(wanted)] == [corpus.document(i).tolist() for i in wanted]
    for bad in (20, -1):
        with pytest.raises(IndexError):
            corpus.buffer([bad])
        with pytest.raises(IndexError):
            corpus.document(bad)


def test_the_standard_library_is_text_found_on_any_machine(tmp_path: Path) -> None:
    corpus = standard_library_corpus(tmp_path / "c", TOKENIZER, max_bytes=400_000)
    assert 200_000 < corpus.num_tokens <= 400_000 + 2 * len(corpus)
    names = [entry["path"] for entry in corpus.manifest["sources"]]
    assert names == sorted(names) and len(names) > 10 and not any("/test/" in f"/{name}" or "site-packages" in name for name in names)
    assert len({name[0] for name in names}) > 5  # spread over the alphabet
    again = standard_library_corpus(tmp_path / "d", TOKENIZER, max_bytes=400_000)
    assert again.manifest["provenance"] == corpus.manifest["provenance"] and again.fingerprint == corpus.fingerprint
    assert len(corpus.manifest["provenance"]["sha256"]) == 64
