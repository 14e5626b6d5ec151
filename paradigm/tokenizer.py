"""Text at the edge: strings to token ids and back, and conversations to tokens with the assistant's share marked.

Every tokenizer is held as a `tokenizers` pipeline, bytes included, so whatever is saved opens in transformers too. Text never becomes special tokens
unless asked for: `<|end|>` typed by a user is seven bytes. Only a chat template may put special tokens into a conversation.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from paradigm.chat_template import ChatTemplate, ChatTemplateError
from paradigm.token_bytes import byte_letters, token_bytes

__all__ = ["SPECIAL_TOKENS", "Tokenizer"]

# n tokens

SPECIAL_TOKENS = ("<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
_BYTE_VOCAB_SIZE = 272  # 256 bytes and the special tokens, rounded up to a multiple of 16; the rest is reserved
_Bytes = bytes  # in the class below, `bytes` is the tokenizer of that name
_ROLES = ("system", "user", "assistant")

_BUILT_IN_CHAT = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] not in ('system', 'user', 'assistant') -%}
        {{- raise_exception("role must be system, user or assistant, got " + message['role']) -}}
    {%- endif -%}
    {{- '<|' + message['role'] + '|>' -}}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] + '<|end|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


class Tokenizer:
    """Turns text into token ids and back. `Tokenizer()` is the byte tokenizer; see `from_pretrained` and `train_bpe` for others.

    Bytes: ids 0 to 255 are UTF-8 bytes, 256 to 261 `SPECIAL_TOKENS`, and vocab_size is 272 (the rest is reserved).

    Attributes:
        vocab_size: number of ids, the largest plus one.
        special_ids: {text of a special token: its id}.
        bos_id, eos_id, pad_id: ids that begin and end a document and that pad, or None.
        end_id: id that ends a chat turn: `<|end|>`, `<|im_end|>`, `<|eot_id|>`, or else eos_id.
        fingerprint: SHA-256 of everything that decides how text is cut (the chat template is not part of it).
    """

    def __init__(self) -> None:
        self._set_up(_byte_pipeline(), {"bos_token": "<|bos|>", "eos_token": "<|eos|>"}, _BUILT_IN_CHAT)

    def _set_up(self, pipeline: tokenizers.Tokenizer, named: Mapping[str, str], chat_template: str | None) -> None:
        pipeline.no_truncation()
        pipeline.no_padding()
        self._json = pipeline.to_str()
        pipeline.encode_special_tokens = True  # from here on, special tokens in text are text
        self._pipeline = pipeline
        self._named = dict(named)
        self._chat_pipelines: dict[str, tokenizers.Tokenizer] = {}
        added = pipeline.get_added_tokens_decoder()
        self.special_ids: dict[str, int] = {token.content: number for number, token in sorted(added.items()) if token.special}
        self.fingerprint = hashlib.sha256(json.dumps(json.loads(self._json), sort_keys=True).encode()).hexdigest()
        self._is_bytes = self.fingerprint == _byte_fingerprint()
        ids = pipeline.get_vocab(with_added_tokens=True).values()
        self.vocab_size = _BYTE_VOCAB_SIZE if self._is_bytes else max(ids, default=-1) + 1
        self.bos_id, self.eos_id, self.pad_id = (self._id_of(named.get(f"{name}_token")) for name in ("bos", "eos", "pad"))
        turn_ends = (self.special_ids.get(text) for text in ("<|end|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>"))
        self.end_id = next((number for number in turn_ends if number is not None), self.eos_id)
        self._special_pattern = re.compile("|".join(re.escape(text) for text in sorted(self.special_ids, key=len, reverse=True)) or r"(?!)")
        self._special_prefixes = {text[:k] for text in self.special_ids for k in range(1, len(text))}
        self._longest_prefix = max(map(len, self._special_prefixes), default=0)
        self.chat_template = None if chat_template is None else ChatTemplate(chat_template, self._named)

    def _id_of(self, text: str | None) -> int | None:
        return None if text is None else self._pipeline.token_to_id(text)

    @classmethod
    def bytes(cls) -> Tokenizer:
        """The byte tokenizer: needs no file, knows every text."""
        return cls()

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Opens a checkpoint's tokenizer.

        Args:
            path: a local folder with tokenizer.json and, if it has them, tokenizer_config.json and chat_template.jinja; or a tokenizer.json file.
        Raises: FileNotFoundError if there is no tokenizer.json; ValueError if a file is malformed.
        """
        path = Path(path)
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"path must be a folder with tokenizer.json or such a file, got {str(path)!r}")
        try:
            pipeline = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises plain Exception for every fault of the file
            raise ValueError(f"{file} is not a tokenizer of the tokenizers library: {error}") from error
        named: dict[str, str] = {}
        template: str | None = None
        if path.is_dir():
            for name in ("special_tokens_map.json", "tokenizer_config.json"):
                config = _read_json(path / name)
                named |= {key: _content(value) for key, value in config.items() if key.endswith("_token") and _content(value)}
                template = _default_template(config.get("chat_template"), path / name) or template
            if (path / "chat_template.jinja").is_file():
                template = (path / "chat_template.jinja").read_text(encoding="utf-8")
        return cls._of(pipeline, named, template)

    @classmethod
    def _of(cls, pipeline: tokenizers.Tokenizer, named: Mapping[str, str], template: str | None) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._set_up(pipeline, named, template)
        return tokenizer

    @classmethod
    def train_bpe(cls, texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = SPECIAL_TOKENS) -> Tokenizer:
        """Learns a byte-level BPE vocabulary (Sennrich et al., arXiv:1508.07909, on bytes as GPT-2 did; digits stand alone).

        Args:
            texts: read once, streamed.
            vocab_size: number of ids, special tokens included; fewer come out if the texts have fewer pairs to merge.
            special_tokens: with the default ones the built-in chat form works; the first becomes bos, the second eos, under these names.
        Raises: ValueError if vocab_size leaves no room for the 256 bytes and the special tokens.
        """
        if vocab_size < 256 + len(special_tokens):
            raise ValueError(f"vocab_size must be >= {256 + len(special_tokens)} (256 bytes and the special tokens), got {vocab_size}")
        pipeline = tokenizers.Tokenizer(models.BPE())
        digits = pre_tokenizers.Digits(individual_digits=True)
        pipeline.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        pipeline.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[AddedToken(text, special=True, normalized=False) for text in special_tokens],
            initial_alphabet=sorted(byte_letters()),
            show_progress=False,
        )
        pipeline.train_from_iterator(texts, trainer)
        named = {name: text for name, text in (("bos_token", "<|bos|>"), ("eos_token", "<|eos|>")) if text in special_tokens}
        return cls._of(pipeline, named, _BUILT_IN_CHAT if set(SPECIAL_TOKENS) <= set(special_tokens) else None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes tokenizer.json, tokenizer_config.json and chat_template.jinja into the folder `path`, as transformers reads them."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **self._named}
        files = {"tokenizer.json": self._json, "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False)}
        if self.chat_template is not None:
            files["chat_template.jinja"] = self.chat_template.source
        for name, text in files.items():
            temporary = folder / f".{name}.partial"
            try:
                temporary.write_text(text, encoding="utf-8")
                os.replace(temporary, folder / name)
            finally:
                temporary.unlink(missing_ok=True)

    save_pretrained = save  # the name by which `Policy.save_pretrained(path, tokenizer=...)` knows it

    def encode(self, text: str, *, special: bool = False) -> np.ndarray:
        """Token ids of a text, nothing added around them.

        Args:
            text: any string; lone surrogates become "?".
            special: whether special tokens written in the text become their ids. Leave it off for text from outside.
        Returns: int32 [n].
        """
        if special:
            text = _valid(text)
            pipeline = self._chat_pipeline(_mark_absent_from([text]))
            return np.array(pipeline.encode(text, add_special_tokens=False).ids, dtype=np.int32)
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` of several texts at once, in parallel where the vocabulary is learned. Returns int32 [n] for each."""
        if self._is_bytes:
            return [np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int32) for text in texts]
        encoded = self._pipeline.encode_batch_fast([_valid(text) for text in texts], add_special_tokens=False)
        return [np.array(item.ids, dtype=np.int32) for item in encoded]

    def decode(self, ids: Sequence[int] | np.ndarray, *, skip_special: bool = False) -> str:
        """The text of token ids, special tokens in their written form; bytes that are not UTF-8 and reserved ids become U+FFFD.

        Args:
            ids: integers [n], 0 <= id < vocab_size.
            skip_special: whether to leave special tokens out.
        Raises: ValueError if an id is out of range.
        """
        numbers = np.asarray(ids, dtype=np.int64).reshape(-1)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.vocab_size):
            bad = numbers[(numbers < 0) | (numbers >= self.vocab_size)][0]
            raise ValueError(f"ids must be in [0, {self.vocab_size}), got {bad}")
        if not self._is_bytes:
            return self._pipeline.decode(numbers.tolist(), skip_special_tokens=skip_special)
        texts = {number: "" if skip_special else text for text, number in self.special_ids.items()}
        pieces: list[str] = []
        cuts = np.flatnonzero(numbers >= 256)
        for start, end in zip([0, *(cuts + 1)], [*cuts, numbers.size]):
            pieces.append(numbers[start:end].astype(np.uint8).tobytes().decode("utf-8", "replace"))
            if end < numbers.size:
                pieces.append(texts.get(int(numbers[end]), "\ufffd"))
        return "".join(pieces)

    def token_bytes(self) -> list[_Bytes]:
        """What each id says, bytes [vocab_size]: b"" for special tokens and reserved ids. Raises: as `token_bytes.token_bytes`."""
        return token_bytes(self._json, self.vocab_size)

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        now: datetime | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """A conversation in the checkpoint's own chat template (the byte tokenizer and `train_bpe` bring one), sandboxed.

        Special tokens written inside messages stay text. The assistant's tokens are those of the template's `{% generation %}` blocks; without such
        blocks, what each assistant turn adds to the rendering of the turns before it, up to and with its end token. A token that straddles the
        beginning of the assistant's text is not an action: no policy could emit it after that prompt.

        Args:
            messages: mappings with `role` and `content`.
            add_generation_prompt: whether to end with the header of an assistant's turn, for sampling.
            tools: JSON schemas of tools for the template, or None.
            now: the time that templates with a date in them are told; by default the clock, which makes such tokens differ from day to day.
        Returns: tokens int32 [n] and action_mask bool [n], True on the assistant's content and its end token.
        Raises: ValueError if there is no template, if it fails, or if earlier turns render differently once later ones follow.
        """
        if not messages:
            raise ValueError("messages must hold at least one message, got none")
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping) or "role" not in message:
                raise ValueError(f"messages[{i}] must be a mapping with role and content, got {str(message)[:80]!r}")
        if self._is_bytes and self.chat_template is not None and self.chat_template.source == _BUILT_IN_CHAT:
            return self._encode_byte_chat(messages, add_generation_prompt)
        if self.chat_template is None:
            raise ValueError("this tokenizer has no chat template: put chat_template.jinja beside its tokenizer.json")
        mark = _mark_absent_from([*_strings(messages), *_strings(tools), self.chat_template.source])
        shielded = self._shielded(list(messages), mark)
        text, spans = self._render_chat(shielded, add_generation_prompt, self._shielded(tools, mark), now or datetime.now())
        encoding = self._chat_pipeline(mark).encode(text, add_special_tokens=False)
        starts = np.array([start for start, _ in encoding.offsets], dtype=np.int64)
        edges = np.array([edge for span in spans for edge in span], dtype=np.int64)
        return np.array(encoding.ids, dtype=np.int32), np.searchsorted(edges, starts, side="right") % 2 == 1

    def _encode_byte_chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool) -> tuple[np.ndarray, np.ndarray]:
        role_ids = {role: self.special_ids[f"<|{role}|>"] for role in _ROLES}
        pieces, masks = [np.array([self.bos_id], np.int32)], [np.zeros(1, np.bool_)]
        for i, message in enumerate(messages):
            role, content = message["role"], message.get("content")
            if role not in role_ids:
                raise ValueError(f"messages[{i}]: role must be one of {_ROLES}, got {role!r}")
            if not isinstance(content, str):
                raise ValueError(f"messages[{i}]: content must be a string, got {type(content).__name__}")
            body = self.encode(content)
            pieces += [np.array([role_ids[role]], np.int32), body, np.array([self.end_id], np.int32)]
            masks += [np.zeros(1, np.bool_), np.full(body.size + 1, role == "assistant")]
        if add_generation_prompt:
            pieces.append(np.array([role_ids["assistant"]], np.int32))
            masks.append(np.zeros(1, np.bool_))
        return np.concatenate(pieces), np.concatenate(masks)

    def _render_chat(
        self, messages: list[Any], add_generation_prompt: bool, tools: list[Any] | None, now: datetime
    ) -> tuple[str, list[tuple[int, int]]]:
        """The rendering and the assistant's character spans in it."""
        assert self.chat_template is not None
        text, spans = self.chat_template.render(messages, add_generation_prompt=add_generation_prompt, tools=tools, now=now)
        if self.chat_template.marks_generation:
            return text, spans
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, _ = self.chat_template.render(messages[:i], add_generation_prompt=True, tools=tools, now=now)
            after, _ = self.chat_template.render(messages[: i + 1], tools=tools, now=now)
            if not after.startswith(before) or not text.startswith(after):
                raise ChatTemplateError(
                    f"the chat template renders the turns up to messages[{i}] differently once others follow, so the assistant's tokens cannot be "
                    "told apart: mark them with {% generation %} in the template, or split the conversation so that this turn is the last"
                )
            # what follows the end token, often a line break, is the template's
            ends = [match.end() for match in self._special_pattern.finditer(after, len(before))]
            end = ends[-1] if ends and not after[ends[-1] :].strip() else len(after)
            spans.append((len(before), end))
        return text, spans

    def _shielded(self, value: Any, mark: str) -> Any:
        """Messages with `mark` inside every special token, and behind every beginning of one, so that none can form."""
        if isinstance(value, str):
            text = _valid(value)
            while match := self._special_pattern.search(text):
                if len(match[0]) == 1:
                    raise ValueError(f"messages hold {match[0]!r}, which is a special token of one character and cannot be written as text")
                text = self._special_pattern.sub(lambda m: m[0][0] + mark + m[0][1:], text)
            body = text.rstrip()
            if any(body[-k:] in self._special_prefixes for k in range(1, min(self._longest_prefix, len(body)) + 1)):
                text = body + mark + text[len(body) :]
            return text
        if isinstance(value, Mapping):
            return {key: self._shielded(item, mark) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._shielded(item, mark) for item in value]
        return value

    def _chat_pipeline(self, mark: str) -> tokenizers.Tokenizer:
        """The pipeline that knows special tokens, and drops `mark` after it has looked for them."""
        if mark not in self._chat_pipelines:
            config = json.loads(self._json)
            drop = {"type": "Replace", "pattern": {"String": mark}, "content": ""}
            config["normalizer"] = {"type": "Sequence", "normalizers": [drop, *([config["normalizer"]] if config.get("normalizer") else [])]}
            config["post_processor"] = None  # it would only trim spaces off the offsets
            for token in config["added_tokens"]:
                token["normalized"] = token["normalized"] and not token["special"]
            self._chat_pipelines[mark] = tokenizers.Tokenizer.from_str(json.dumps(config))
        return self._chat_pipelines[mark]

    def __reduce__(self) -> tuple[Any, ...]:
        template = None if self.chat_template is None else self.chat_template.source
        return _restore, (self._json, self._named, template)

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, {self.name})"

    @property
    def name(self) -> str:
        """`bytes`, or the beginning of the fingerprint."""
        return "bytes" if self._is_bytes else self.fingerprint[:12]


def _restore(pipeline: str, named: Mapping[str, str], template: str | None) -> Tokenizer:
    return Tokenizer._of(tokenizers.Tokenizer.from_str(pipeline), named, template)


def _byte_pipeline() -> tokenizers.Tokenizer:
    """Bytes as a BPE without merges, so that tokenizer.json opens elsewhere."""
    pipeline = tokenizers.Tokenizer(models.BPE(vocab=byte_letters(), merges=[]))
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pipeline.decoder = decoders.ByteLevel()
    pipeline.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS])
    return pipeline


def _byte_fingerprint() -> str:
    return hashlib.sha256(json.dumps(json.loads(_byte_pipeline().to_str()), sort_keys=True).encode()).hexdigest()


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _mark_absent_from(texts: Iterable[str]) -> str:
    """A private-use character that no text holds, written out or escaped as JSON would."""
    joined = "\n".join(texts)
    return next(mark for mark in map(chr, range(0xE000, 0xF8FF)) if mark not in joined and json.dumps(mark)[1:-1] not in joined)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _strings(item)]
    return []


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}")
    return value


def _content(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _default_template(value: Any, path: Path) -> str | None:
    """The template of tokenizer_config.json: a string, or a list of named ones of which `default` counts."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        named = {item.get("name"): item.get("template") for item in value if isinstance(item, Mapping)}
        if isinstance(named.get("default"), str):
            return named["default"]
    raise ValueError(f"{path}: chat_template must be a string or a list with one named default, got {str(value)[:80]!r}")
