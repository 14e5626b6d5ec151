"""Metamath databases and proofs that the tests share: small ones with conditions on variables, and a compressor of proofs."""

from __future__ import annotations

from collections.abc import Sequence

from paradigm.verifiers.metamath import Assertion, Hypothesis, MetamathDatabase

# the example of the Metamath book, section 2.2.2
DEMO = """
$c 0 + = -> ( ) term wff |- $.
$v t r s P Q $.
tt $f term t $.
tr $f term r $.
ts $f term s $.
wp $f wff P $.
wq $f wff Q $.
tze $a term 0 $.
tpl $a term ( t + r ) $.
weq $a wff t = r $.
wim $a wff ( P -> Q ) $.
a1 $a |- ( t = r -> ( t = s -> r = s ) ) $.
a2 $a |- ( t + 0 ) = t $.
${
  min $e |- P $.
  maj $e |- ( P -> Q ) $.
  mp $a |- Q $.
$}
th1 $p |- t = t $=
  tt tze tpl tt weq tt tt weq tt a2 tt tze tpl tt weq tt tze tpl tt weq tt tt weq wim tt a2 tt tze tpl tt tt a1 mp mp $.
"""

# quantifiers, with variables that must differ; `dummy` has one that is not of its statement, `late` a $f after its $e
DISJOINT = """
$c ( ) -> A. wff setvar |- = $.
$v p q x y z $.
wp $f wff p $.
wq $f wff q $.
vx $f setvar x $.
vy $f setvar y $.
vz $f setvar z $.
wi $a wff ( p -> q ) $.
wal $a wff A. x p $.
weq $a wff x = y $.
${
  gen.1 $e |- p $.
  gen $a |- A. x p $.
$}
${
  $d x p $.
  ax-5 $a |- ( p -> A. x p ) $.
$}
${
  $d x y $.
  apart $a |- ( x = y -> A. x x = y ) $.
$}
id $a |- ( p -> p ) $.
${
  $d x q $.
  fine $p |- ( q -> A. x q ) $= wq vx ax-5 $.
$}
${
  $d z y $.
  chain $p |- ( y = y -> A. z y = y ) $= vy vy weq vz ax-5 $.
$}
bound $p |- ( x = y -> x = y ) $= vx vy weq id $.
same $p |- ( p -> A. x p ) $= wp vx ax-5 $.
own $p |- ( x = x -> A. x x = x ) $= vx vx weq vx ax-5 $.
other $p |- ( x = y -> A. x x = y ) $= vx vy apart $.
twice $p |- ( x = x -> A. x x = x ) $= vx vx apart $.
${
  $d x p $.
  inside $p |- ( ( p -> x = y ) -> A. x ( p -> x = y ) ) $= wp vx vy weq wi vx ax-5 $.
$}
"""
DISJOINT_RIGHT = ("fine", "chain", "bound")
DISJOINT_WRONG = ("same", "own", "other", "twice", "inside")


def compressed(database: MetamathDatabase, theorem: Assertion, labels: Sequence[str], *, marks: bool = True) -> str:
    """The compressed form of a proof in labels; with `marks`, what was proved is referred to when it is needed again."""
    stack: list[tuple[str, ...]] = []
    subproofs: list[tuple[str, ...]] = []  # of each step, the steps that lead to it
    for label in labels:
        found = database.statements[label]
        count = 0 if isinstance(found, Hypothesis) else len(found.hypotheses)
        parts = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        stack.append((*(step for part in parts for step in part), label))
        subproofs.append(stack[-1])
    repeated = {steps for steps in subproofs if marks and len(steps) > 1 and subproofs.count(steps) > 1}
    listed = list(dict.fromkeys(label for label in labels if label not in theorem.hypotheses))
    numbers = {label: number for number, label in enumerate([*theorem.hypotheses, *listed])}
    known: dict[tuple[str, ...], int] = {}
    written: list[tuple[int, str]] = []  # how many steps each letter group stands for, and the group
    for steps in subproofs:
        if steps in known:
            covered = 0
            while covered < len(steps) - 1:
                covered += written.pop()[0]
            written.append((len(steps), letters(known[steps])))
            continue
        text = letters(numbers[steps[-1]])
        if steps in repeated:
            known[steps] = len(numbers) + len(known)
            text += "Z"
        written.append((1, text))
    return f"( {' '.join(listed)} ) {''.join(text for _, text in written)}"


def letters(number: int) -> str:
    """A number from 0 in the letters of a compressed proof."""
    text = chr(ord("A") + number % 20)
    number //= 20
    while number > 0:
        text = chr(ord("U") + (number - 1) % 5) + text
        number = (number - 1) // 5
    return text
