"""The command `paradigm data build`: text in, a corpus out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from paradigm.sources.corpus import BuildProgress, Corpus, build_corpus, input_texts
from paradigm.sources.standard_library import standard_library_corpus
from paradigm.tokenizer import Tokenizer

__all__ = ["add_arguments", "run"]

_EPILOG = """\
examples:
  paradigm data build notes/ book.txt --out corpora/mine
  paradigm data build questions.jsonl --field question --out corpora/questions --tokenizer checkpoints/smollm2
  paradigm data build notes/ --out corpora/mine --train-bpe 4096 --save-tokenizer tokenizers/mine
  paradigm data build --standard-library --out corpora/python

A build is all or nothing: interrupted at any moment, it leaves no corpus, or the one that was there.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.description = "Turns text files, JSONL files and folders into memory-mapped token shards with checksums."
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="a text file, a .jsonl file, or a folder (searched recursively, binaries skipped)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the corpus's folder")
    parser.add_argument("--standard-library", action="store_true", help="take the sources of this Python's standard library as the input")
    parser.add_argument("--tokenizer", default="bytes", metavar="PATH", help="a folder with tokenizer.json, or such a file (default: bytes)")
    parser.add_argument("--train-bpe", type=int, metavar="SIZE", help="learn a vocabulary of SIZE tokens from the inputs first")
    parser.add_argument("--save-tokenizer", metavar="FOLDER", help="where to save the tokenizer used; required with --train-bpe")
    parser.add_argument("--field", default="text", help="the field of a JSONL object that holds the text (default: text)")
    parser.add_argument("--extensions", metavar="LIST", help="endings of the files to take from folders, such as .txt,.md (default: all text)")
    parser.add_argument("--max-bytes", type=int, metavar="N", help="stop after about N bytes of input")
    parser.add_argument("--max-document-bytes", type=int, default=4 << 20, metavar="N", help="cut longer text files into documents (default: 4 MiB)")
    parser.add_argument("--shard-tokens", type=int, default=1 << 24, metavar="N", help="tokens of a shard (default: 16,777,216)")
    parser.add_argument("--no-bos", action="store_true", help="do not begin documents with the tokenizer's bos token")
    parser.add_argument("--no-eos", action="store_true", help="do not end documents with the tokenizer's eos token")
    parser.add_argument("--overwrite", action="store_true", help="replace the corpus that is in FOLDER")


def run(args: argparse.Namespace, console: Console | None = None) -> int:
    """Runs the command. Returns: the exit status; what went wrong is said on standard error, in one line."""
    output = console or Console()
    try:
        start = time.monotonic()
        corpus = _build(args, output)
    except KeyboardInterrupt:
        Console(stderr=True).print(f"Interrupted: nothing was written to {args.out}.", markup=False, soft_wrap=True)
        return 130
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True, highlight=False)
        return 1
    _summarize(corpus, time.monotonic() - start, output)
    return 0


def _build(args: argparse.Namespace, console: Console) -> Corpus:
    if bool(args.inputs) == args.standard_library:
        raise ValueError("give either inputs or --standard-library")
    extensions = None if args.extensions is None else [name.strip() for name in args.extensions.split(",") if name.strip()]
    tokenizer = _tokenizer(args, extensions)
    if args.standard_library:
        return standard_library_corpus(args.out, tokenizer, args.max_bytes, shard_tokens=args.shard_tokens, overwrite=args.overwrite)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("tokenising")

        def show(progress: BuildProgress) -> None:
            bar.update(task, completed=progress.bytes_read, total=progress.total_bytes)

        return build_corpus(
            args.inputs, args.out, tokenizer, field=args.field, extensions=extensions, shard_tokens=args.shard_tokens,
            max_document_bytes=args.max_document_bytes, max_bytes=args.max_bytes, bos=not args.no_bos, eos=not args.no_eos,
            overwrite=args.overwrite, progress=show,
        )  # fmt: skip


def _tokenizer(args: argparse.Namespace, extensions: list[str] | None) -> Tokenizer:
    if args.train_bpe is not None:
        if args.tokenizer != "bytes":
            raise ValueError(f"give either --train-bpe or --tokenizer, got both ({args.tokenizer!r})")
        if args.save_tokenizer is None:
            raise ValueError("--train-bpe needs --save-tokenizer FOLDER, or the vocabulary would be lost")
        if args.standard_library:
            raise ValueError("--train-bpe learns from inputs; give the standard library's folder as one")
        tokenizer = Tokenizer.train_bpe(_texts(args, extensions), args.train_bpe)
    else:
        tokenizer = Tokenizer() if args.tokenizer == "bytes" else Tokenizer.from_pretrained(args.tokenizer)
    if args.save_tokenizer is not None:
        tokenizer.save(args.save_tokenizer)
    return tokenizer


def _texts(args: argparse.Namespace, extensions: list[str] | None) -> Iterator[str]:
    return input_texts(args.inputs, field=args.field, extensions=extensions, out=args.out, max_document_bytes=1 << 16)


def _summarize(corpus: Corpus, seconds: float, console: Console) -> None:
    size_mib = sum(entry["bytes"] for entry in corpus.manifest["shards"]) / 2**20
    skipped = corpus.manifest["provenance"].get("num_skipped_files", 0)
    lines = [
        f"{len(corpus):,} documents, {corpus.num_tokens:,} tokens ({corpus.manifest['dtype']}, vocabulary {corpus.vocab_size:,})",
        f"{len(corpus.manifest['sources']):,} files read" + (f", {skipped:,} skipped that are not text" if skipped else ""),
        f"{len(corpus.shards):,} shards, {size_mib:.1f} MiB, in {seconds:.1f} s",
        f"corpus: {Path(corpus.path)}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
