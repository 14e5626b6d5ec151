"""Configuration errors name the key, the rule and the value."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from paradigm.config import ConfigError, apply_overrides, decode, encode, parse_override, read_toml


@dataclass(frozen=True, kw_only=True)
class Inner:
    steps: int = 3
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be >= 1, got {self.steps}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=Inner)
    many: list[Inner] = field(default_factory=list)
    maybe: Inner | None = None


def test_values_arrive_and_round_trip() -> None:
    config = decode(Outer, {"name": "x", "inner": {"steps": 5, "rate": 1}, "many": [{"steps": 2}], "maybe": {"rate": 0.5}})
    assert config.inner == Inner(steps=5, rate=1.0) and config.many == [Inner(steps=2)] and config.maybe == Inner(rate=0.5)
    assert decode(Outer, encode(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "inner": {"stepz": 5}}, "recipe.inner: unknown key 'stepz'; did you mean 'steps'?"),
        ({"name": "x", "many": [{}, {"rat": 5}]}, r"recipe.many\[1\]: unknown key 'rat'; did you mean 'rate'?"),
        ({"name": "x", "maybe": {"sreps": 5}}, "recipe.maybe: unknown key 'sreps'; did you mean 'steps'"),
        ({"name": "x", "inner": {"steps": "many"}}, "recipe.inner.steps: expected `int`, got `str`, got 'many'"),
        ({"name": "x", "kind": "c"}, "recipe.kind: invalid enum value 'c', got 'c'"),
        ({"name": "x", "inner": {"steps": 0}}, "steps must be >= 1, got 0"),
        ({}, "recipe: .*missing required .*name"),
    ],
)
def test_wrong_values_are_named(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(Outer, values, "recipe")


def test_overrides_are_toml_and_reach_named_entries() -> None:
    assert parse_override("a.b=[1, 2]") == (["a", "b"], [1, 2])
    assert parse_override("path=runs/x") == (["path"], "runs/x")
    config = {"stages": [{"kind": "rl", "steps": 1}, {"kind": "rl", "name": "second", "steps": 1}]}
    apply_overrides(config, ["rl.steps=4", "second.steps=5", "policy.heads=2"])
    assert [s["steps"] for s in config["stages"]] == [4, 5] and config["policy"] == {"heads": 2}
    for bad in ("steps", "=3"):
        with pytest.raises(ConfigError, match="key=value"):
            parse_override(bad)
    with pytest.raises(ConfigError, match="no table"):
        apply_overrides({"seed": 1}, ["seed.x=1"])


def test_missing_and_broken_files(tmp_path) -> None:
    (tmp_path / "quickstart.toml").write_text("a = ")
    with pytest.raises(ConfigError, match=r"no such file.*did you mean .*quickstart.toml"):
        read_toml(tmp_path / "quikstart.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_toml(tmp_path / "quickstart.toml")
