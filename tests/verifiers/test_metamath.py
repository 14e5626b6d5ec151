"""Databases that are Metamath and ones that are not; proofs of the book, of variables that must differ, and of our own theory."""

import random
import sys
from pathlib import Path

import pytest

from paradigm.environments import propositional_theory
from paradigm.verifiers import MetamathDatabase, MetamathError, MetamathLimits, MetamathProof, MetamathVerifier
from paradigm.verifiers.metamath_proof import compressed_steps
from tests.verifiers.metamath_cases import DEMO, DISJOINT, DISJOINT_RIGHT, DISJOINT_WRONG, compressed, letters

HEAD = "$c a b |- $. $v x y $. fx $f a x $. fy $f a y $. "

VALID = [
    "", "$( nothing $)", "$( $[ ${ $c in comments $)", "$c a $.", "$c a#b $.", "$v x $.", "${ $v x $. $} ${ $v x $. $}",
    "${ $}", "$c a $. ${ $v x $. f $f a x $. $} ${ $v x $. g $f a x $. $}", HEAD + "t $a |- x $.", HEAD + "a.b-c_D $a |- $.",
    HEAD + "${ $d x y $. t $a |- x y $. $}", HEAD + "${ e $e |- x $. t $p |- x $= e $. $}", "$c a $.\r\n\f\t$v x $.",
    "$c a |- $. $v x $. ${ f $f a x $. e $e |- x $. t $p |- x $= e $. $}",
]  # fmt: skip

INVALID = {
    "a comment without an end": "$c a $. $( x",
    "a comment within a comment": "$( $( $) $)",
    "a comment's end glued": "$( x$)",
    "no comment to end": "$)",
    "a constant twice": "$c a a $.",
    "a constant again": "$c a $. $c a $.",
    "a constant in a block": "${ $c a $. $}",
    "no constants": "$c $.",
    "a constant that is a variable": "$v x $. $c x $.",
    "a constant that was a variable": "${ $v x $. $} $c x $.",
    "a variable that is a constant": "$c a $. $v a $.",
    "a variable twice": "$v x x $.",
    "a variable that is active": "$v x $. ${ $v x $. $}",
    "a statement without an end": "$c a",
    "a statement in a statement": "$c a $c b $. $.",
    "a dollar in a symbol": "$c a$b $.",
    "a block without an end": "${",
    "an end without a block": "$}",
    "a label alone": HEAD + "t",
    "two labels": HEAD + "t u $a |- x $.",
    "no label": HEAD + "$a |- x $.",
    "a label before $c": "t $c a $.",
    "a label before ${": "t ${ $}",
    "a label of odd characters": HEAD + "t! $a |- x $.",
    "a label twice": HEAD + "t $a |- x $. t $a |- y $.",
    "a label twice in blocks": HEAD + "${ t $a |- x $. $} ${ t $a |- x $. $}",
    "a label that is a symbol": HEAD + "b $a |- x $.",
    "a symbol that is a label": HEAD + "t $a |- x $. $c t $.",
    "$f of a constant": HEAD + "t $f a b $.",
    "$f twice": HEAD + "t $f a x $.",
    "$f of another type": HEAD + "t $f b x $.",
    "$f of no type": "$v x y $. t $f y x $.",
    "$f too long": "$c a $. $v x $. t $f a x x $.",
    "$f too short": "$c a $. t $f a $.",
    "an unknown symbol": HEAD + "t $a |- z $.",
    "a variable without a type": "$c |- $. $v x $. t $a |- x $.",
    "a variable of a closed block": "$c |- a $. ${ $v x $. f $f a x $. $} t $a |- x $.",
    "an assertion without a type": HEAD + "t $a x $.",
    "an empty assertion": HEAD + "t $a $.",
    "an empty hypothesis": HEAD + "${ e $e $. $}",
    "a hypothesis without a type": HEAD + "${ e $e x $. $}",
    "a theorem without a proof": HEAD + "t $p |- x $.",
    "a theorem with an empty proof": HEAD + "t $p |- x $= $.",
    "a theorem without an end": HEAD + "t $p |- x $= fx",
    "$d of one": HEAD + "$d x $.",
    "$d of the same": HEAD + "$d x x $.",
    "$d of a constant": HEAD + "$d x a $.",
    "$d of nothing": HEAD + "$d $.",
    "an inclusion": "$[ other.mm $]",
    "an unknown keyword": "$x",
    "$= alone": "$= $.",
    "$. alone": "$.",
    "letters past ASCII": "$c \u00e4 $.",
    "a control character": "$c a\0 $.",
    "a vertical tab": "$c\va $.",
    "a no-break space": "$c\u00a0a $.",
}


@pytest.mark.parametrize("text", VALID)
def test_databases_that_are_valid(text):
    MetamathDatabase(text)


@pytest.mark.parametrize("name", INVALID)
def test_databases_that_are_not(name):
    with pytest.raises(MetamathError):
        MetamathDatabase(INVALID[name])


def test_the_example_of_the_book():
    database = MetamathDatabase(DEMO)
    theorem = database.assertion("th1")
    assert theorem.hypotheses == ("tt",) and database.assertion("mp").hypotheses == ("wp", "wq", "min", "maj") and theorem.order == 14
    verifier = MetamathVerifier(database)
    proof = " ".join(theorem.proof)
    assert verifier("th1", proof).score == 1.0 and verifier.check("th1").num_steps == 34
    # as the book compresses it, appendix B
    assert verifier("th1", "( tze tpl weq a2 wim a1 mp ) ABCZADZAADZAEZJJKFLIAAGHH").score == 1.0
    assert verifier("th1", compressed(database, theorem, theorem.proof)).score == 1.0
    assert verifier("th1", compressed(database, theorem, theorem.proof, marks=False)).score == 1.0
    verdict = verifier("th1", proof.removesuffix(" mp"))
    assert verdict.score == 0.0 and "it leaves 4 statements" in verdict.evidence
    with pytest.raises(KeyError, match="th2"):
        verifier("th2", proof)
    with pytest.raises(KeyError, match="tt"):
        verifier("tt", proof)
    with pytest.raises(KeyError, match="axiom"):
        verifier.check("a1")


def test_variables_that_must_differ():
    verifier = MetamathVerifier(MetamathDatabase(DISJOINT))
    for label in DISJOINT_RIGHT:
        verifier.check(label)
    for label in DISJOINT_WRONG:
        with pytest.raises(MetamathError, match="disjoint"):
            verifier.check(label)


def test_an_order_of_hypotheses_that_few_databases_have():
    """A floating hypothesis after an essential one of the same scope."""
    database = MetamathDatabase(
        "$c w |- ! $. $v p q $. wp $f w p $. ${ e $e |- p $. $( late $) wq $f w q $. r $a |- ! p q $. t $p |- ! p q $= wp e wq r $. $}"
    )
    assert database.assertion("r").hypotheses == ("wp", "e", "wq")
    MetamathVerifier(database).check("t")


def test_numbers_of_compressed_proofs():
    assert [letters(n) for n in (0, 19, 20, 39, 40, 119, 120, 619, 620)] == ["A", "T", "UA", "UT", "VA", "YT", "UUA", "YYT", "UUUA"]
    database = MetamathDatabase(DEMO)
    theorem = database.assertion("th1")
    labels = [f"l{n}" for n in range(699)]
    for number in (0, 1, 18, 19, 20, 118, 119, 120, 618, 619, 620, 699):
        assert list(compressed_steps(["(", *labels, ")", letters(number)], theorem)) == [(["tt", *labels])[number]]


@pytest.mark.parametrize("name", ["demo0", "miu", "big-unifier", "hol", "ql"])
def test_published_databases(name):
    """Those that Debian's metamath-databases installs, in compressed proofs of other hands."""
    path = Path(f"/usr/share/metamath/databases/{name}.mm")
    if not path.exists():
        pytest.skip("metamath-databases is not installed")
    database = MetamathDatabase.read(path)
    verifier = MetamathVerifier(database)
    assert database.theorems()
    for label in database.theorems():
        verifier.check(label)


def test_limits_bind_and_are_checked():
    database = propositional_theory()
    proof = " ".join(database.assertion("id").proof)
    steps = len(proof.split())
    assert MetamathVerifier(database, MetamathLimits(steps=steps))("id", proof).score == 1.0
    for limits, named in (({"steps": steps - 1}, "steps"), ({"symbols": 100}, "symbols"), ({"characters": 20}, "characters")):
        verdict = MetamathVerifier(database, MetamathLimits(**limits))("id", proof)
        assert verdict.score == 0.0 and named in verdict.evidence
        with pytest.raises(ValueError, match=named):
            MetamathLimits(**{named: 0})


def _value(symbols, row):
    """The truth value of a formula under the assignment `row`."""
    stream = iter(symbols)

    def formula():
        symbol = next(stream)
        if symbol == "-.":
            return not formula()
        if symbol != "(":
            return row[symbol]
        left = formula()
        assert next(stream) == "->"
        right = formula()
        assert next(stream) == ")"
        return not left or right

    return formula()


def test_our_theory_is_proved_and_true():
    """Every proof passes, and by truth tables every theorem follows from its hypotheses."""
    database = propositional_theory()
    verifier, theorems = MetamathVerifier(database), database.theorems()
    assert len(theorems) >= 500
    for label in theorems:
        verifier.check(label)
        theorem = database.assertion(label)
        essential = [database.statements[name].symbols[1:] for name in theorem.hypotheses if not database.statements[name].floating]
        for number in range(64):
            row = {name: bool(number >> bit & 1) for bit, name in enumerate("pqrstu")}
            if all(_value(hypothesis, row) for hypothesis in essential):
                assert _value(theorem.symbols[1:], row), label
    statements = [(database.assertion(label).symbols, database.assertion(label).hypotheses) for label in theorems]
    assert len(set(statements)) == len(statements)


def test_our_theory_is_as_its_script_writes_it():
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root / "scripts"))
    try:
        import propositional_theory as script
    finally:
        sys.path.remove(str(root / "scripts"))
    assert script.build() == script.OUT.read_text()


@pytest.mark.parametrize("claim", ["p", "( p -> q )", "-. ( p -> p )", "( ( p -> q ) -> p )", "-. -. -. ( p -> p )", "( p -> -. p )"])
def test_random_steps_never_prove_what_is_false(claim):
    """Steps drawn among those that can be taken, on claims that truth tables refute, from a true statement on."""
    text = (Path(__file__).parents[2] / "paradigm" / "environments" / "propositional.mm").read_text()
    database = MetamathDatabase(f"{text} false $p |- {claim} $= ? $.")
    theorem, draw = database.assertion("false"), random.Random(claim)
    labels, rows = database.usable(theorem), [{name: bool(n >> bit & 1) for bit, name in enumerate("pqrstu")} for n in range(64)]
    assert not all(_value(theorem.symbols[1:], row) for row in rows)
    num_proved = 0
    for _ in range(10):
        proof = MetamathProof(database, theorem, MetamathLimits())
        for label in database.assertion("id").proof:
            proof.step(label)
        for _ in range(150):
            label = draw.choice(labels if draw.random() < 0.4 else labels[:6])
            if not proof.allows(label):
                continue
            proof.step(label)
            if proof.stack[-1][0] == "|-":
                num_proved += 1
                assert all(_value(proof.stack[-1][1:], row) for row in rows)
        assert not proof.is_complete
    assert num_proved > 5
