"""The stub of the C++ core promises nothing that the core lacks."""

import ast
from pathlib import Path

import paradigm._core as core

STUB = Path(core.__file__).parent / "_core.pyi"


def _names(body: list[ast.stmt]) -> list[tuple[str, ast.stmt]]:
    named = [(node.name, node) for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    named += [(node.target.id, node) for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return [(name, node) for name, node in named if not name.startswith("__")]


def test_every_name_in_the_stub_is_in_the_core() -> None:
    names = _names(ast.parse(STUB.read_text()).body)
    assert "NativeEnvironment" in dict(names)
    for name, node in names:
        assert hasattr(core, name), name
        if isinstance(node, ast.ClassDef):
            for member, _ in _names(node.body):
                assert hasattr(getattr(core, name), member), f"{name}.{member}"


def test_arguments_bear_the_names_of_the_stub() -> None:
    for name, node in _names(ast.parse(STUB.read_text()).body):
        if isinstance(node, ast.FunctionDef):
            signature = (getattr(core, name).__doc__ or "").split("\n")[0]
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                assert f"{argument.arg}:" in signature, f"{name}({argument.arg}): {signature}"
