"""Formal proofs as an environment: lines and answers, refusals, masks, splits, demonstrations, and rollouts through the sampler."""

import copy

import numpy as np
import pytest

from paradigm import Policy, PolicyConfig, Sampler
from paradigm.environments import Environment, Metamath, metamath_split, propositional_theory
from paradigm.verifiers import MetamathDatabase, MetamathLimits, MetamathVerifier
from tests.verifiers.metamath_cases import DISJOINT, compressed


def _text(step):
    (observation,) = step.observations
    return bytes(np.asarray(observation.tokens).tolist()).decode()


def _write(environment, line):
    return environment.step(list(f"{line}\n".encode()))


def test_a_proof_line_by_line():
    environment = Metamath(max_action_tokens=77)
    assert isinstance(environment, Environment)
    step = environment.reset("syl5.j")
    assert _text(step) == "syl5.j1 $e |- ( p -> q ) $.\nsyl5.j2 $e |- ( r -> ( q -> s ) ) $.\nsyl5.j $p |- ( r -> ( p -> s ) ) $=\n"
    assert (step.observations[0].stop, step.observations[0].max_action_tokens, step.observations[0].legal) == ((10,), 77, None)
    known = environment.known_proof("syl5.j")
    assert _text(_write(environment, known[0])) == "wff r\n"
    assert _text(_write(environment, " ".join(known[1:5]))) == "wff ( r -> ( q -> s ) )\n"
    other = environment.clone()
    step = _write(environment, " ".join(known[5:]))
    assert step.terminated and step.rewards == (1.0,) and environment.verdict.score == 1.0 and _text(step) == "|- ( r -> ( p -> s ) )\n"
    assert step.observations[0].max_action_tokens == 0
    with pytest.raises(RuntimeError, match="reset"):
        _write(environment, "wp")
    for label in known[5:-1]:
        assert not _write(other, label).terminated
    assert _write(copy.deepcopy(other), known[-1]).rewards == (1.0,) and other.verdict is None
    assert _write(other, "mp wp").rewards == (0.0,)


def test_a_whole_proof_in_a_line():
    environment = Metamath()
    theorem = environment.database.assertion("t171")
    for line in (" ".join(theorem.proof), compressed(environment.database, theorem, theorem.proof)):
        environment.reset("t171")
        step = environment.step(list(line.encode()))  # the limit came before the stop
        assert step.terminated and step.rewards == (1.0,)


def test_what_cannot_be_taken_is_refused():
    environment = Metamath(max_refusals=2)
    environment.reset("t171")
    assert _text(_write(environment, "wp")) == "wff p\n"
    assert _text(_write(environment, "wp t171")) == "? 't171' is no earlier statement in scope of 't171'\n"
    assert _text(_write(environment, "wi")) == "? 'wi' needs 2 statements, the stack has 1\n"  # the line before was not taken in part
    step = _write(environment, "t199")
    assert step.terminated and step.rewards == (0.0,) and "t199" in environment.verdict.evidence
    environment = Metamath()
    environment.reset("t171")
    assert _write(environment, "").terminated
    environment = Metamath(max_lines=2)
    environment.reset("t171")
    assert not _write(environment, "wp").terminated
    assert _write(environment, "wp").terminated and "2 lines" in environment.verdict.evidence
    environment = Metamath(verifier=MetamathVerifier(propositional_theory(), MetamathLimits(steps=3)), max_answer=8)
    environment.reset("t171")
    assert _text(_write(environment, "wp wq wi")) == "wff ( p  ...\n"
    assert _write(environment, "wn").terminated and "3 steps" in environment.verdict.evidence


def test_conditions_on_variables_are_shown_and_kept():
    environment = Metamath(MetamathDatabase(DISJOINT))
    assert _text(environment.reset("fine")) == "$d q x $.\nfine $p |- ( q -> A. x q ) $=\n"
    assert _write(environment, "wq vx ax-5").rewards == (1.0,)
    environment.reset("same")
    assert _write(environment, "wp vx ax-5").rewards == (0.0,)


def test_splits_are_of_statements():
    database = propositional_theory()
    environment = Metamath()
    parts = {split: environment.tasks(0, 10**6, split) for split in ("train", "validation", "test")}
    assert sorted(label for part in parts.values() for label in part) == sorted(database.theorems())
    assert 0.7 < len(parts["train"]) / len(database.theorems()) < 0.9 and len(parts["validation"]) > 10 and len(parts["test"]) > 50
    assert environment.tasks(3, 20, "test") == environment.tasks(3, 30, "test")[:20] != environment.tasks(4, 20, "test")
    short = environment.tasks(0, 1000, max_steps=12)
    assert short and all(len(environment.known_proof(label)) <= 12 for label in short)
    text = "$c ( ) -> wff |- $. $v p q a b $. wp $f wff p $. wq $f wff q $. wa $f wff a $. wb $f wff b $. wi $a wff ( p -> q ) $. "
    for number in range(20):
        for name, first, second in (("a", "p", "q"), ("b", "b", "a")):
            text += f"{name}{number} $p |- ( {first} -> {f'( {first} -> ' * number}{second}{' )' * number} ) $= ? $. "
    renamed = MetamathDatabase(text)
    assert all(metamath_split(renamed, f"a{n}") == metamath_split(renamed, f"b{n}") for n in range(20))


def test_masked_actions_are_those_that_can_be_taken():
    environment = Metamath(masked=True)
    (asked,) = environment.reset("t001").observations
    lines = [bytes(line).decode() for line in asked.legal]
    assert lines == [f"w{variable}\n" for variable in "pqrstu"]
    (asked,) = _write(environment, "wp").observations
    lines = [bytes(line).decode() for line in asked.legal]
    assert {"wn\n", "id\n", "wq\n"} <= set(lines) and not {"wi\n", "ax-1\n", "mp\n", "t001\n", "t002\n", "min\n"} & set(lines)
    for line in lines:
        assert not _text(_write(environment.clone(), line[:-1])).startswith("?")


def test_demonstrations_are_the_known_proofs():
    environment = Metamath(max_lines=1000)
    tasks = environment.tasks(0, 12, "train", max_steps=40)
    sampler = Sampler(None, vocab_size=256)
    rollouts = sampler.collect(environment, tasks, group_size=1, opponents={0: environment.demonstrator()}, record_players=True)
    for task, rollout in zip(tasks, rollouts):
        assert rollout.terminated and rollout.reward == 1.0 and not rollout.failed
        said = bytes(rollout.tokens[rollout.action_mask].tolist()).decode()
        assert said.split("\n")[:-1] == environment.known_proof(task)
    environment.reset(tasks[0])
    _write(environment, "wu")
    with pytest.raises(RuntimeError, match="known proof"):
        environment.demonstrator().act(environment, None, 0)


def test_rollouts_of_a_policy_of_random_weights():
    policy = Policy(PolicyConfig(vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, intermediate_size=32))
    sampler = Sampler(policy, slots=8)
    free = Metamath(max_action_tokens=8, max_lines=4, max_refusals=9)
    tasks = free.tasks(0, 3, "train")
    rollouts = sampler.collect(free, tasks, group_size=2, key=(1, 0), threads=2)
    assert len(rollouts) == 6 and all(rollout.terminated and rollout.reward == 0.0 and not rollout.failed for rollout in rollouts)
    masked = Metamath(masked=True, max_lines=6)
    rollouts = sampler.collect(masked, tasks, group_size=2, key=(1, 0), threads=2)
    again = sampler.collect(masked, tasks, group_size=2, key=(1, 0), threads=1)
    assert not any(rollout.failed for rollout in rollouts)
    assert [rollout.tokens.tolist() for rollout in rollouts] == [rollout.tokens.tolist() for rollout in again]
    for rollout in rollouts:
        assert b"?" not in bytes(rollout.tokens[~rollout.action_mask].tolist())


def test_bad_arguments_are_named():
    for options, named in (({"max_action_tokens": 0}, "max_action"), ({"max_lines": 0}, "max_lines"), ({"max_refusals": -1}, "refusals"),
                           ({"max_answer": 0}, "max_answer")):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            Metamath(**options)
    for task in ("ax-1", "wp", "nothing"):
        with pytest.raises(ValueError, match="task"):
            Metamath().reset(task)
    with pytest.raises(ValueError, match="verifier"):
        Metamath(MetamathDatabase(DISJOINT), MetamathVerifier(propositional_theory()))
    with pytest.raises(RuntimeError, match="reset"):
        Metamath().step([10])
