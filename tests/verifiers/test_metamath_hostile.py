"""Proofs that want a pass without being one: none is accepted, none takes longer than its limit; and no true one is refused."""

import random
import time

import pytest

from paradigm.environments import propositional_theory
from paradigm.verifiers import MetamathDatabase, MetamathVerifier
from tests.verifiers.metamath_cases import DISJOINT, DISJOINT_WRONG, compressed

LIMIT_SECONDS = 5.0  # of CPU, for one proof at the default limits
DATABASE = propositional_theory()
VERIFIER = MetamathVerifier(DATABASE)


def _proof(label):
    return VERIFIER.check(label).labels()


def _short(label, most=60):
    steps = VERIFIER.check(label).labels(most)
    return steps is not None


GOAL = "t171"
RIGHT = _proof(GOAL)
RULE = "syl5.j"  # a theorem with two hypotheses
RULE_RIGHT = _proof(RULE)
COMPRESSED = compressed(DATABASE, DATABASE.assertion(GOAL), RIGHT)
LABELS, LETTERS = COMPRESSED[2:].split(" ) ")

TEXTS = {
    "nothing": "",
    "white space": " \n\t\r\f ",
    "a question mark": "?",
    "the proof with a question mark": " ".join([*RIGHT, "?"]),
    "a step unknown": " ".join(["?", *RIGHT[1:]]),
    "the theorem itself": GOAL,
    "the theorem itself with its variables": f"wp wq wr {GOAL}",
    "the theorem itself at the end of its proof": " ".join([*RIGHT, GOAL]),
    "a later theorem": "wp wq wr t199",
    "the last theorem": "t200",
    "what it states": " ".join(DATABASE.assertion(GOAL).symbols),
    "what it states as a wff": "wp wn wq wn wi wn wp wr wi wq wn wi wn wi",
    "the proof and a hypothesis more": " ".join([*RIGHT, "wp"]),
    "a hypothesis before the proof": " ".join(["wp", *RIGHT]),
    "the proof twice": " ".join(RIGHT + RIGHT),
    "the proof backwards": " ".join(RIGHT[::-1]),
    "another theorem's proof": " ".join(_proof("t170")),
    "another theorem": "wp id",
    "another theorem's hypothesis": "min",
    "another theorem's hypotheses": "wp wq min maj mp",
    "hypotheses of the rule before it": "syl5.j1",
    "modus ponens on nothing": "mp",
    "an axiom on nothing": "ax-1",
    "an axiom with too little": "wp ax-1",
    "a proof where a wff should be": "wp wp ax-1 wp wi",
    "a wff where a proof should be": "wp wq wp wp wq wi mp",
    "a new axiom": "$a |- ( p -> q ) $.",
    "a new axiom of the goal": f"cheat $a {' '.join(DATABASE.assertion(GOAL).symbols)} $. cheat",
    "a new constant": "$c cheat $. " + " ".join(RIGHT),
    "a proof in its keywords": "$= " + " ".join(RIGHT) + " $.",
    "a comment": "$( the proof is trivial $)",
    "a comment before the proof": "$( here $) " + " ".join(RIGHT),
    "a block": "${ " + " ".join(RIGHT) + " $}",
    "an inclusion": "$[ /etc/passwd $]",
    "the goal from a shell": "read set.mm; save proof *",
    "words": "It is easy to see that this holds.",
    "QED": "QED",
    "a verdict": "Verdict(1.0)",
    "a program": "__import__('os')._exit(0)",
    "JSON": '{"score": 1.0}',
    "a formula": "( p -> p )",
    "NaN": "nan",
    "infinity": "inf",
    "a negative number": "-1",
    "a huge number": "9" * 5000,
    "commas": ",".join(RIGHT),
    "semicolons": "; ".join(RIGHT),
    "quotes": "'" + "' '".join(RIGHT) + "'",
    "capitals": " ".join(RIGHT).upper(),
    "a Cyrillic letter": " ".join(RIGHT).replace("wp", "w\u0440"),
    "wide letters": " ".join(RIGHT).replace("wp", "\uff57\uff50"),
    "a combining mark": " ".join(RIGHT).replace("wp", "wp\u0301"),
    "a zero-width space": " ".join(RIGHT).replace("wp", "w\u200bp"),
    "zero-width spaces between": "\u200b".join(RIGHT),
    "no-break spaces between": "\u00a0".join(RIGHT),
    "wide spaces between": "\u3000".join(RIGHT),
    "line separators between": "\u2028".join(RIGHT),
    "vertical tabs between": "\v".join(RIGHT),
    "file separators between": "\x1c".join(RIGHT),
    "zero bytes between": "\0".join(RIGHT),
    "a zero byte at the end": " ".join(RIGHT) + "\0",
    "a byte order mark": "\ufeff" + " ".join(RIGHT),
    "a soft hyphen": " ".join(RIGHT).replace("wp", "w\u00adp"),
    "right to left": "\u202e" + " ".join(RIGHT),
    "a surrogate": " ".join(RIGHT) + " \ud800",
    "a minus for a hyphen": "wp wq ax\u22121",
    "one word": "".join(RIGHT),
    "brackets around": "[ " + " ".join(RIGHT) + " ]",
    "parentheses around": "( " + " ".join(RIGHT) + " )",
    "a megabyte of steps": "wp " * 350_000,
    "megabytes of one step": "w" * 5_000_000,
    "megabytes of brackets": "(" * 3_000_000,
    "megabytes of newlines": "\n" * 3_000_000,
    "as many steps as fit": "wp " * 33_000,
    "the deepest wff": "wp " + "wn " * 19_000,
    "a wff that grows": "wp wp wi " * 11_000,
}
NUMBERS = {
    "no labels": "( )",
    "nothing at all": "(",
    "an end without a beginning": ") " + LETTERS,
    "no end": "( " + LABELS + " " + LETTERS,
    "two ends": "( " + LABELS + " ) ) " + LETTERS,
    "nested": "( ( " + LABELS + " ) ) " + LETTERS,
    "a proof after": COMPRESSED + " " + COMPRESSED,
    "labels after": COMPRESSED + " wp",
    "labels before": "wp " + COMPRESSED,
    "itself": f"( {GOAL} ) ABCD",
    "itself unused": f"( {LABELS} {GOAL} ) {LETTERS}",
    "a later one unused": f"( {LABELS} t199 ) {LETTERS}",
    "an unknown one unused": f"( {LABELS} nothing ) {LETTERS}",
    "another's hypothesis unused": f"( {LABELS} min ) {LETTERS}",
    "a mandatory hypothesis": f"( wp {LABELS} ) {LETTERS}",
    "a label twice": f"( {LABELS} {LABELS.split()[0]} ) {LETTERS}",
    "a question mark": COMPRESSED + "?",
    "only a question mark": "( ) ?",
    "a question mark within": f"( {LABELS} ) ?{LETTERS}",
    "a mark first": f"( {LABELS} ) Z{LETTERS}",
    "two marks": f"( {LABELS} ) {LETTERS.replace('Z', 'ZZ') if 'Z' in LETTERS else LETTERS + 'ZZ'}",
    "a mark within a number": f"( {LABELS} ) UZA{LETTERS}",
    "an open number": COMPRESSED + "U",
    "a number too large": COMPRESSED + "UT",
    "a huge number": COMPRESSED + "YYYYYYYYT",
    "a number beyond counting": COMPRESSED + "Y" * 90_000 + "T",
    "a mark before it is made": f"( {LABELS} ) " + "UA" + LETTERS,
    "small letters": f"( {LABELS} ) {LETTERS.lower()}",
    "digits": f"( {LABELS} ) 1 2 3",
    "negative numbers": f"( {LABELS} ) -1",
    "wide letters": f"( {LABELS} ) " + "".join(chr(ord(c) + 0xFEE0) for c in LETTERS if c != " "),
    "brackets after": COMPRESSED + "()",
    "the first letter cut": f"( {LABELS} ) {LETTERS[1:]}",
    "the last letter cut": COMPRESSED[:-1],
    "letters alone": LETTERS,
    "a mark of each letter": f"( {LABELS} ) " + "Z".join(LETTERS.replace("Z", "")) + "ZA",
    "terms that double": "( wi ) A" + "ZEE" * 30_000,
    "terms that double by marks": "( wi ) A" + "".join("ZD" for _ in range(2)) + "A" * 9 + "ZD" * 40_000,
    "marks without end": "( ) A" + "ZA" * 45_000,
    "one statement again and again": "( ) AZ" + "D" * 90_000,
}


def _doubling():
    """A compressed proof whose n-th term is twice as long as the one before, by references to the last mark."""
    from tests.verifiers.metamath_cases import letters

    num_known = len(DATABASE.assertion(GOAL).hypotheses) + 1
    return "( wi ) AZ" + "".join(2 * letters(num_known + n) + letters(num_known - 1) + "Z" for n in range(2000))


NUMBERS["terms that double by references"] = _doubling()


def _mutants():
    """Proofs one step away from right ones."""
    draw = random.Random(0)
    for label in ("t171", "t064", "pm2.83.i", "nsyl", "t122", "t020", RULE):
        proof = _proof(label)
        for number in sorted(draw.sample(range(len(proof)), 6)):
            yield f"{label} without step {number}", (label, " ".join(proof[:number] + proof[number + 1 :]))
            yield f"{label} with step {number} twice", (label, " ".join(proof[: number + 1] + proof[number:]))
            other = draw.choice([step for step in ("wp", "wn", "wi", "ax-1", "ax-3", "mp", "id") if step != proof[number]])
            yield f"{label} with {other} for step {number}", (label, " ".join([*proof[:number], other, *proof[number + 1 :]]))
        yield f"{label} up to its last step", (label, " ".join(proof[:-1]))


def _cases():
    for name, text in TEXTS.items():
        yield f"text: {name}", (GOAL, text)
    for name, text in NUMBERS.items():
        yield f"compressed: {name}", (GOAL, text)
    for name, text in {
        "a hypothesis alone": f"{RULE}1",
        "hypotheses alone": f"{RULE}1 {RULE}2",
        "itself from its hypotheses": f"wp wq wr ws {RULE}1 {RULE}2 {RULE}",
        "the deduction form after it": f"wp wq wr ws {RULE}1 syl5.d",
        "hypotheses exchanged": " ".join(RULE_RIGHT).replace(f"{RULE}1", "X").replace(f"{RULE}2", f"{RULE}1").replace("X", f"{RULE}2"),
        "another rule's hypotheses": " ".join(RULE_RIGHT).replace(RULE + "1", "syl6.j1"),
    }.items():
        yield f"rule: {name}", (RULE, text)
    yield from ((f"mutant: {name}", case) for name, case in _mutants())


HOSTILE = dict(_cases())


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_proof_passes(name):
    label, text = HOSTILE[name]
    started = time.process_time()
    verdict = VERIFIER(label, text)
    assert verdict.score == 0.0 and verdict.evidence and verdict.error is None, verdict
    assert time.process_time() - started < LIMIT_SECONDS
    assert len(verdict.evidence) < 2000


def test_there_are_at_least_a_hundred_of_them():
    assert len(HOSTILE) >= 200
    assert VERIFIER(GOAL, " ".join(RIGHT)).score == VERIFIER(GOAL, COMPRESSED).score == VERIFIER(RULE, " ".join(RULE_RIGHT)).score == 1.0


@pytest.mark.parametrize("label", DISJOINT_WRONG)
def test_conditions_on_variables_are_not_got_round(label):
    database = MetamathDatabase(DISJOINT)
    verifier, theorem = MetamathVerifier(database), database.assertion(label)
    for text in (" ".join(theorem.proof), compressed(database, theorem, theorem.proof), compressed(database, theorem, theorem.proof, marks=False)):
        verdict = verifier(label, text)
        assert verdict.score == 0.0 and "disjoint" in verdict.evidence


def _true_ones():
    draw = random.Random(1)
    for label in DATABASE.theorems():
        theorem, proof = DATABASE.assertion(label), _proof(label)
        yield label, "".join(step + draw.choice([" ", "\n", "\t", "\r\n", "  \f"]) for step in proof)
        if len(proof) < 200:
            yield label, compressed(DATABASE, theorem, proof)
            yield label, "\n" + compressed(DATABASE, theorem, proof, marks=False) + "\n"


def test_no_true_proof_is_refused():
    proofs = list(_true_ones())
    assert len(set(proofs)) >= 1200
    for label, text in proofs:
        verdict = VERIFIER(label, text)
        assert verdict.score == 1.0 and verdict.error is None, (label, text, verdict)
