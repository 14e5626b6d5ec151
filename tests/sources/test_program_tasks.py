"""Programming tasks by the thousand: what is said is what the solution computes, wrong solutions are wrong, and the sandbox agrees."""

import numpy as np
import pytest

from paradigm.environments import Code, Observation
from paradigm.environments.splits import split_of
from paradigm.sources.program_tasks import KnownPrograms, Programmer, ProgramTasks
from paradigm.verifiers import CodeVerifier, SandboxUnavailable

PROGRAMS = ProgramTasks(600, (1, 3))


def computed(task, written):
    """What a program of ours returns on a task's inputs."""
    names = {}
    exec(task.prompt + written, names)
    return [names["f"](*case.args) for case in task.tests]


def test_solutions_compute_what_is_said():
    for row, task in enumerate(PROGRAMS.tasks):
        expected = [case.expected for case in task.tests]
        assert computed(task, PROGRAMS.solution(row)) == expected, task.prompt
        assert computed(task, PROGRAMS.wrong_solution(row, row)) != expected, task.prompt
    by_hand = {"# add 3": lambda x: x + 3, "# square": lambda x: x * x, "# subtract from 4": lambda x: 4 - x,
               "# divide by 5, rounding down": lambda x: x // 5, "# take at most 7": lambda x: min(x, 7)}  # fmt: skip
    single = ProgramTasks(60, (1, 1))
    said = {task.prompt.split("\n")[0]: row for row, task in enumerate(single.tasks)}
    for words, function in by_hand.items():
        task = single.tasks[said[words]]
        assert [case.expected for case in task.tests] == [function(*case.args) for case in task.tests]
    chained = next(row for row, task in enumerate(PROGRAMS.tasks) if task.prompt.startswith("# add") and task.prompt.count("then") == 1)
    assert "then" in PROGRAMS.tasks[chained].prompt and PROGRAMS.solution(chained).startswith("    return ")


def test_tasks_are_different_and_of_one_split_each():
    prompts = [task.prompt for task in PROGRAMS.tasks]
    assert len(set(prompts)) == len(PROGRAMS) == 600 and ProgramTasks(600, (1, 3)).tasks == PROGRAMS.tasks
    parts = {split: PROGRAMS.rows(0, 10**6, split) for split in ("train", "validation", "test")}
    assert sorted(row for rows in parts.values() for row in rows) == list(range(600))
    assert all(split_of(prompts[row]) == split for split, rows in parts.items() for row in rows) and len(parts["test"]) > 50
    assert PROGRAMS.rows(1, 9, "train") == PROGRAMS.rows(1, 20, "train")[:9] != PROGRAMS.rows(2, 9, "train")
    for options, named in (({"n": 0}, "n must be"), ({"steps": (3, 2)}, "steps"), ({"n": 500, "steps": (1, 1)}, "different tasks")):
        with pytest.raises(ValueError, match=named):
            ProgramTasks(**options)


def test_programmers_are_wrong_as_often_as_they_are_told():
    known, programmer = KnownPrograms(PROGRAMS), Programmer(PROGRAMS, 0.3)
    right = []
    for row, task in enumerate(PROGRAMS.tasks):
        *written, end = programmer.act(None, Observation([*task.prompt.encode()]), row)
        text = bytes(written).decode()
        right.append(known.judge(task, text).passed)
        assert end == 0 and right[-1] == (computed(task, text) == [case.expected for case in task.tests])
    assert 0.64 < np.mean(right) < 0.76
    with pytest.raises(ValueError, match="error_rate"):
        Programmer(PROGRAMS, -0.1)


def test_the_sandbox_agrees():
    try:
        verifier = CodeVerifier()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    world, known = Code(PROGRAMS.tasks, verifier), KnownPrograms(PROGRAMS)
    for row in range(2):
        for written in (PROGRAMS.solution(row), PROGRAMS.wrong_solution(row, 0)):
            world.reset(row)
            assert world.step([*written.encode(), 0]).rewards == (known.judge(PROGRAMS.tasks[row], written).verdict.score,)
