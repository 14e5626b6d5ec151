"""Writes paradigm/environments/propositional.mm: Lukasiewicz's three axioms, and theorems derived from them here.

A proof is a term: an axiom or an earlier theorem, or one applied to another, which is modus ponens (D. Meredith's condensed detachment). Terms
are written with lambdas below; bracket abstraction (H. Curry) turns these into applications, with earlier theorems as combinators. A term's
principal type (J. R. Hindley) is the theorem that it proves. Then come forms with hypotheses, and detachments drawn at random.

    python scripts/propositional_theory.py
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "paradigm" / "environments" / "propositional.mm"

# a formula is a variable's number, ("n", formula) or ("i", formula, formula); a term is a name or (term, term)
Formula = Any
Term = Any
Substitution = dict[int, Formula]

VARIABLES = "pqrstu"
AXIOMS: dict[str, Formula] = {
    "ax-1": ("i", 0, ("i", 1, 0)),
    "ax-2": ("i", ("i", 0, ("i", 1, 2)), ("i", ("i", 0, 1), ("i", 0, 2))),
    "ax-3": ("i", ("i", ("n", 0), ("n", 1)), ("i", 1, 0)),
}
DERIVED = """
id: x. x
imim2: f g x. f (g x)
com12: f x y. f y x
imim1: f g x. g (f x)
pm2.43: f x. f x x
pm2.27: x f. f x
a1d: f x y. f x
a1dd: f x y z. f x y
com23: f x y z. f x z y
com13: f x y z. f z y x
com3l: f x y z. f z x y
com3r: f x y z. f y z x
com34: f w x y z. f w x z y
com14: f w x y z. f z x y w
pm2.86: f x y. f (z. y) x
jarr: f x. f (y. x)
jarl: f g. f (x. ax-3 (y. g) x)
imim12: f g h x. g (h (f x))
imim3: f g h x. f (h x) (g x)
loowoz: f g x. f (y. x) (g x)
syl5: f g x y. g x (f y)
syl6: f g x y. g (f x y)
sylc: f g h x. h (f x) (g x)
mpid: f g x. g x (f x)
mpdd: f g x y. g x y (f x y)
syldd: f g x y z. g x y (f x y z)
pm2.43a: f x y. f x y x
imim1d: f g x y. g (f x y)
pm2.77: f g x. f x (g x)
pm2.83: f g x y. g x (f x y)
embant: x f g. g (f x)
pm2.21: n x. ax-3 (m. n) x
pm2.24: x n. pm2.21 n x
pm2.18: f. ax-3 (n. pm2.21 n (f n)) f
notnotr: n. pm2.18 (pm2.21 n)
notnot: ax-3 notnotr
con1: f. ax-3 (x. notnot (f x))
con2: f. ax-3 (n. f (notnotr n))
con3: f. ax-3 (n. notnot (f (notnotr n)))
pm2.01: f. pm2.18 (n. f (notnotr n))
pm2.6: f g. pm2.18 (n. g (con1 f n))
pm2.61: f g. pm2.6 g f
pm2.65: f g. pm2.01 (x. pm2.21 (g x) (f x))
pm2.68: f n. pm2.6 n (x. f (y. x))
peirce: f. pm2.18 (n. f (pm2.21 n))
looinv: f g. pm2.18 (n. g (f (pm2.21 n)))
simplim: con1 pm2.21
simprim: con3 ax-1
simpr: con1 ax-1
pm3.2im: x. con2 (pm2.27 x)
impt: f n. f (simplim n) (simpr n)
expt: f x y. f (pm3.2im x y)
jc: f g x. pm3.2im (f x) (g x)
ja: f g h. pm2.6 f (x. g (h x))
jao: f g h. pm2.61 f (n. g (h n))
mth8: x. con3 (pm2.27 x)
pm2.521: n y. simplim n
pm2.5: n m. pm2.21 m (simplim n)
pm2.51: n x. simprim n
conax1k: n x. simprim n
con34: f x. con3 (f x)
con23: f x y. con2 (f x) y
con13: f x y. con1 (f x) y
nsyl: f g x. con3 g (f x)
nsyl2: f g x. con1 g (f x)
nsyl3: f g y. con2 f (g y)
mto: f n. con3 f n
mt2: x f. con2 f x
mt3: n f. con1 f n
pm2.65d: f g x. pm2.65 (f x) (g x)
pm2.61d: f g x. pm2.61 (f x) (g x)
peirced: f x. peirce (f x)
pm2.18d: f x. pm2.18 (f x)
pm2.36: f g n. f (g n)
pm2.38: f g n. g (con3 f n)
pm2.8: f g n. g (m. n) f
pm2.81: f g h x. g (f x) (h x)
pm2.82: f g h x. f (con3 h x)
orcom: f. con1 f
orass1: f n m. f (x. pm2.21 n x) m
anidm: n. simplim n
ancom: f. con3 (g x. con2 g x) f
ancoml: n. pm3.2im (simpr n) (simplim n)
anass: n. pm3.2im (simplim (simplim n)) (pm3.2im (simpr (simplim n)) (simpr n))
andir: f n. pm3.2im (f (simplim n)) (simpr n)
anim12: f g n. pm3.2im (f (simplim n)) (g (simpr n))
anidm2: x. pm3.2im x x
nand: f g. f (simplim g) (simpr g)
dilemma: f g h k. pm2.61 (x. h (f x)) (n. k (g n))
minimp: f g h x. g (f x) (h x)
meredith: f g x. ax-3 (n. notnot (g x)) f
merco: f g x. g (f x)
tarski1: f g. peirce (h. g (f h))
tarski2: f g. pm2.61 f (n. g (pm2.21 n))
clavius: f x. pm2.18 (n. f n x)
frege: f g x. f x (g x)
frege2: f g x y. f x y (g x)
russell: f. pm2.43 f
twice: f x. f (f x)
thrice: f x. f (f (f x))
church: f g x y. g (f x y) y
share: f g x y. f x (g x y)
wajsberg: f g. g (x. f x)
dni: x f. f (notnot x)
dne: f x. f (notnotr x)
dnid: f x. notnot (f x)
dned: f x. notnotr (f x)
notnotnot: con3 notnot
contra: x n. n
"""


def apply(substitution: Substitution, formula: Formula) -> Formula:
    while isinstance(formula, int) and formula in substitution:
        formula = substitution[formula]
    if isinstance(formula, int):
        return formula
    return (formula[0], *(apply(substitution, part) for part in formula[1:]))


def occurs(variable: int, formula: Formula) -> bool:
    return formula == variable if isinstance(formula, int) else any(occurs(variable, part) for part in formula[1:])


def unify(substitution: Substitution, left: Formula, right: Formula) -> bool:
    left, right = apply(substitution, left), apply(substitution, right)
    if left == right:
        return True
    if isinstance(right, int) and not isinstance(left, int):
        left, right = right, left
    if isinstance(left, int):
        if occurs(left, right):
            return False
        substitution[left] = right
        return True
    if left[0] != right[0]:
        return False
    return all(unify(substitution, one, other) for one, other in zip(left[1:], right[1:]))


def variables(formula: Formula) -> list[int]:
    """In order of first occurrence."""
    if isinstance(formula, int):
        return [formula]
    return list(dict.fromkeys(variable for part in formula[1:] for variable in variables(part)))


def size(formula: Formula) -> int:
    return 1 if isinstance(formula, int) else 1 + sum(size(part) for part in formula[1:])


def shown(formula: Formula) -> str:
    if isinstance(formula, int):
        return VARIABLES[formula]
    if formula[0] == "n":
        return f"-. {shown(formula[1])}"
    return f"( {shown(formula[1])} -> {shown(formula[2])} )"


def syntax(formula: Formula) -> list[str]:
    """The steps that show it to be a wff."""
    if isinstance(formula, int):
        return ["w" + VARIABLES[formula]]
    return [step for part in formula[1:] for step in syntax(part)] + [{"n": "wn", "i": "wi"}[formula[0]]]


class Theory:
    def __init__(self) -> None:
        self.closed: dict[str, Formula] = dict(AXIOMS)
        self.rules: dict[str, tuple[list[Formula], Formula]] = {}
        self.lines: list[str] = []

    def infer(self, term: Term, hypotheses: dict[str, Formula]) -> tuple[Formula, list[str]] | None:
        """The principal formula of a term and its proof; hypotheses have variables from 0 on, which are kept."""
        fresh = [len(VARIABLES)]
        substitution: Substitution = {}

        def visit(term: Term) -> Any:
            if isinstance(term, str):
                if term in hypotheses:
                    return hypotheses[term], (term,)
                new = {variable: fresh[0] + number for number, variable in enumerate(variables(self.closed[term]))}
                fresh[0] += len(new)
                return apply(new, self.closed[term]), (term, [new[variable] for variable in sorted(new)])
            left, right = visit(term[0]), visit(term[1])
            if left is None or right is None:
                return None
            result, fresh[0] = fresh[0], fresh[0] + 1
            if not unify(substitution, left[0], ("i", right[0], result)):
                return None
            return result, (left, right)

        found = visit(term)
        if found is None:
            return None
        kept = list(dict.fromkeys(v for formula in hypotheses.values() for v in variables(apply(substitution, formula))))
        order = list(dict.fromkeys([*kept, *variables(apply(substitution, found[0]))]))
        if len(order) > len(VARIABLES):
            return None
        # numbers past all that are in use, so that renaming meets no name again
        name = {variable: -1 - number for number, variable in enumerate(order)}

        def final(formula: Formula) -> Formula:
            formula = apply(substitution, formula)
            if isinstance(formula, int):
                return -1 - name.get(formula, -1)
            return (formula[0], *(final(part) for part in formula[1:]))

        def proof(node: Any) -> list[str]:
            formula, how = node
            if len(how) == 1:
                return [how[0]]
            if isinstance(how[0], str):
                return [step for variable in how[1] for step in syntax(final(variable))] + [how[0]]
            left, right = how
            return [*syntax(final(right[0])), *syntax(final(formula)), *proof(right), *proof(left), "mp"]

        for label, formula in hypotheses.items():
            hypotheses[label] = final(formula)
        return final(found[0]), proof(found)

    def abstract(self, name: str, term: Term) -> Term:
        """A term that, applied to `name`, is `term`."""
        if term == name:
            return "id" if "id" in self.closed else (("ax-2", "ax-1"), "ax-1")
        if not free(name, term):
            return ("ax-1", term)
        left, right = term
        if right == name and not free(name, left):
            return left
        if not free(name, left) and "imim2" in self.closed:
            return (("imim2", left), self.abstract(name, right))
        if not free(name, right) and "com12" in self.closed:
            return (("com12", self.abstract(name, left)), right)
        return (("ax-2", self.abstract(name, left)), self.abstract(name, right))

    def add(self, name: str, term: Term, hypotheses: dict[str, Formula] | None = None) -> bool:
        """Writes a theorem, unless an earlier one says the same."""
        renamed = dict(hypotheses or {})
        found = self.infer(term, renamed)
        if found is None:
            raise ValueError(f"{name} is no proof")
        formula, proof = found
        statement = (list(renamed.values()), formula)
        if formula in statement[0] or statement in self.rules.values() or (not renamed and formula in self.closed.values()):
            return False
        if renamed:
            self.rules[name] = statement
        else:
            self.closed[name] = formula
        lines = [f"{label} $e |- {shown(hypothesis)} $." for label, hypothesis in renamed.items()]
        lines.append(f"{name} $p |- {shown(formula)} $=\n  {wrapped(proof)} $.")
        self.lines.extend(["${", *("  " + line.replace("\n", "\n  ") for line in lines), "$}"] if renamed else lines)
        return True


def free(name: str, term: Term) -> bool:
    return term == name if isinstance(term, str) else any(free(name, part) for part in term)


def parse(theory: Theory, text: str) -> Term:
    tokens = re.findall(r"[()]|[a-z0-9.-]+\.(?= )|[a-z0-9.-]+", text)

    def expression() -> Term:
        for end, token in enumerate(tokens):
            if token in "()":
                break
            if token.endswith("."):
                names = [*tokens[:end], token[:-1]]
                del tokens[: end + 1]
                body = expression()
                for name in reversed(names):
                    body = theory.abstract(name, body)
                return body
        term: Term = None
        while tokens and tokens[0] != ")":
            token = tokens.pop(0)
            if token == "(":
                part = expression()
                tokens.pop(0)
            else:
                part = token
            term = part if term is None else (term, part)
        return term

    return expression()


def wrapped(steps: list[str], width: int = 140) -> str:
    lines = [""]
    for step in steps:
        if len(lines[-1]) + len(step) >= width:
            lines.append("")
        lines[-1] += " " * bool(lines[-1]) + step
    return "\n    ".join(lines)


def instance(general: Formula, special: Formula, bound: Substitution) -> bool:
    if isinstance(general, int):
        return bound.setdefault(general, special) == special
    if isinstance(special, int) or general[0] != special[0]:
        return False
    return all(instance(one, other, bound) for one, other in zip(general[1:], special[1:]))


def build(num_drawn: int = 200, seed: int = 0) -> str:
    """The database's text."""
    theory = Theory()
    for line in DERIVED.strip().splitlines():
        name, _, text = line.partition(": ")
        theory.add(name, parse(theory, text))
    for name in [name for name in theory.closed if name not in AXIOMS]:
        formula = theory.closed[name]
        if formula[0] != "i":
            continue
        _, antecedent, consequent = formula
        theory.add(f"{name}.i", (name, f"{name}.i1"), {f"{name}.i1": antecedent})
        if not isinstance(consequent, int) and consequent[0] == "i":
            theory.add(f"{name}.j", ((name, f"{name}.j1"), f"{name}.j2"), {f"{name}.j1": antecedent, f"{name}.j2": consequent[1]})
        if len(variables(formula)) < len(VARIABLES):
            theory.add(f"{name}.d", (("imim2", name), f"{name}.d1"), {f"{name}.d1": ("i", len(variables(formula)), antecedent)})
    draw = random.Random(seed)
    drawn = 0
    while drawn < num_drawn:
        names = list(theory.closed)
        term: Term = (draw.choice(names), draw.choice(names))
        if draw.random() < 0.5:
            term = (draw.choice(names), term) if draw.random() < 0.5 else (term, draw.choice(names))
        found = theory.infer(term, {})
        if found is None or size(found[0]) > 14 or any(instance(known, found[0], {}) for known in theory.closed.values()):
            continue
        drawn += theory.add(f"t{drawn + 1:03}", term)
    return "\n".join([*header(), *theory.lines, ""])


def header() -> list[str]:
    axioms = [f"{name} $a |- {shown(formula)} $." for name, formula in AXIOMS.items()]
    return [
        "$( Propositional calculus from three axioms of J. Lukasiewicz, written by scripts/propositional_theory.py. $)",
        "$c ( ) -> -. wff |- $.",
        f"$v {' '.join(VARIABLES)} $.",
        *(f"w{variable} $f wff {variable} $." for variable in VARIABLES),
        "wn $a wff -. p $.",
        "wi $a wff ( p -> q ) $.",
        *axioms,
        "${",
        "  min $e |- p $.",
        "  maj $e |- ( p -> q ) $.",
        "  mp $a |- q $.",
        "$}",
    ]


if __name__ == "__main__":
    OUT.write_text(build())
