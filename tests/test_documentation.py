"""What the documents refer to is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_every_test_that_a_document_names_exists() -> None:
    num_tests = 0
    for document in (ROOT / "docs").glob("*.md"):
        path = None
        for file, name in re.findall(r"`((?:tests|csrc)/[\w/]+\.(?:py|cpp))?(?:::(\w+))?`", document.read_text()):
            path = ROOT / file if file else path
            if not (file or name):
                continue
            assert path is not None and path.is_file(), f"{document.name}: {file}"
            if name:
                functions = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
                assert name in functions, f"{document.name}: {path.name}::{name}"
                num_tests += 1
    assert num_tests > 20


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        assert target.startswith("http") or (document.parent / target).exists(), target
