"""The command: `paradigm run recipes/quickstart.toml`, each stage alone, and what one does with a run afterwards."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from paradigm.config import ConfigError

_EPILOG = """\
examples:
  paradigm run recipes/quickstart.toml                    pretrain, imitate, RL, distil and a report, in runs/quickstart-1
  paradigm run recipes/quickstart.toml rl.steps=100       the same with another value of any key
  paradigm run recipes/connect_four.toml                  imitate a noisy player of Connect-Four, then improve by self-play
  paradigm run --resume runs/quickstart-1                 go on where a killed run stopped, bit for bit
  paradigm rl recipes/quickstart.toml --from runs/quickstart-1/stages/imitate/model
  paradigm eval runs/quickstart-1 --stage rl --temperature 0
  paradigm sample runs/quickstart-1 "385+467"
  paradigm report runs/quickstart-1 runs/quickstart-2     one page that compares runs
  paradigm data build notes/ more.jsonl --out corpus/     text into checksummed token shards
  paradigm bench grpo_step --quick                        this machine beside TRL; without a subject, what can be measured
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 after an error that was explained, 2 for a wrong call, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["bench"]:  # its options are the benchmarks' own
        return _explained(lambda: _bench(arguments[1:]))
    parser = _parser()
    # argparse takes no positional after an option: overrides that follow one are what is left over
    options, rest = parser.parse_known_args(arguments)
    if any(text.startswith("-") or "=" not in text for text in rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    if not hasattr(options, "command"):
        parser.print_help()
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return _explained(lambda: options.command(options))


def _explained(run: Callable[[], int | None]) -> int:
    """The exit status of a command that returns one, or None for 0; errors are explained without a traceback."""
    try:
        return run() or 0
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; what was checkpointed is kept.\n")
        return 130
    except (ConfigError, ValueError, OSError, ImportError) as error:
        if os.environ.get("PARADIGM_TRACEBACK"):
            raise
        sys.stderr.write(f"paradigm: {error}\n(set PARADIGM_TRACEBACK=1 to see where)\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paradigm", description="Train a token policy through the whole arc: pretraining, imitation, RL, distillation.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        summary = summary.replace("%", "%%")
        sub = commands.add_parser(name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        sub.set_defaults(command=function)
        return sub

    run = command("run", _run, "run every stage of a recipe in one run directory, and write its report")
    run.add_argument("recipe", nargs="?", help="a recipe file, such as recipes/quickstart.toml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="values of the recipe to change: seed=1, rl.steps=100, policy.hidden_size=192")
    run.add_argument("--resume", metavar="RUN", type=Path, help="go on with an interrupted run directory")
    run.add_argument("--out", type=Path, help="the run directory (default: runs/NAME-1, -2, ...)")
    run.add_argument("--tensorboard", action="store_true", help="write TensorBoard events too (extra: tensorboard)")
    run.add_argument("--setup-seconds", type=float, default=0.0, help="seconds that setting up took, for the report")
    summaries = {
        "pretrain": "train on documents: real text and worked problems",
        "imitate": "train on demonstrations",
        "rl": "train on the policy's own rollouts, by the verifier's verdict alone",
        "distil": "train on the policy's own verified rollouts, the thinking removed",
    }
    for kind, summary in summaries.items():
        stage = command(kind, _stage, f"{summary} (the recipe's first {kind} stage, alone)")
        stage.add_argument("recipe", help="a recipe file that has such a stage")
        stage.add_argument("overrides", nargs="*", metavar="key=value", help=f"values to change: {kind}.learning_rate=1e-3")
        stage.add_argument("--from", dest="start", type=Path, metavar="MODEL", help="folder of weights to start from (default: random ones)")
        stage.add_argument("--out", type=Path, help="the run directory (default: runs/NAME-1, -2, ...); an interrupted one goes on")
        stage.set_defaults(kind=kind)
    evaluation = command("eval", _eval, "measure a stage's policy on held-out problems, with a 95% interval")
    evaluation.add_argument("run", type=Path, help="a run directory")
    evaluation.add_argument("--stage", help="which stage's policy (default: the last of the main line)")
    evaluation.add_argument("--problems", type=int, default=1000, help="how many held-out problems (default: 1000)")
    evaluation.add_argument("--temperature", type=float, default=1.0, help="of sampling; 0 is greedy (default: 1)")
    evaluation.add_argument("--seed", type=int, default=1, help="of the sampling noise (default: 1)")
    sample = command("sample", _sample, "watch a stage's policy answer problems of yours")
    sample.add_argument("run", type=Path, help="a run directory")
    sample.add_argument("problems", nargs="*", help='such as "385+467"; without any, held-out ones')
    sample.add_argument("--stage", help="which stage's policy (default: the last of the main line)")
    sample.add_argument("--temperature", type=float, default=1.0, help="of sampling; 0 is greedy (default: 1)")
    sample.add_argument("--samples", type=int, default=1, help="answers to each problem (default: 1)")
    sample.add_argument("--seed", type=int, default=0, help="of the sampling noise (default: 0)")
    report = command("report", _report, "write one self-contained page about a run, or comparing several")
    report.add_argument("runs", nargs="+", type=Path, help="run directories")
    report.add_argument("--out", type=Path, help="the page (default: report.html in the first run directory)")
    bench = command("bench", lambda options: None, "measure this machine beside TRL, transformers and others (from a checkout); --help says more")
    bench.add_argument("subjects", nargs="*")
    data = commands.add_parser("data", help="prepare data").add_subparsers(title="commands", metavar="COMMAND", required=True)
    summary = "text, JSONL and folders into checksummed token shards"
    build = data.add_parser("build", help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
    _add_build_arguments(build)
    return parser


def _add_build_arguments(parser: argparse.ArgumentParser) -> None:
    from paradigm.sources import build

    build.add_arguments(parser)
    parser.set_defaults(command=build.run)


def _new_folder(name: str) -> Path:
    number = 1
    while True:
        try:
            (folder := Path("runs") / f"{name}-{number}").mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def _run(options: argparse.Namespace) -> None:
    from paradigm.recipe import decode_recipe, load_recipe

    if options.resume is not None:
        info = _run_info(options.resume)
        recipe, folder, source = decode_recipe(info["resolved"]), options.resume, info["recipe"]
    elif options.recipe is None:
        raise ConfigError("paradigm run needs a recipe file, such as recipes/quickstart.toml, or --resume RUN")
    else:
        recipe = load_recipe(options.recipe, options.overrides)
        folder, source = options.out or _new_folder(recipe.name), options.recipe
    console = Console()
    console.print(f"[bold]{recipe.name}[/bold] in {folder}: {', '.join(stage.name for stage in recipe.stages)}")
    _train(console, recipe, folder, source_name=source, setup_seconds=options.setup_seconds, tensorboard=options.tensorboard)


def _train(console: Console, recipe: Any, folder: Path, **options: Any) -> None:
    from paradigm.recipe_run import run_recipe

    gc.freeze()  # the imported modules: looked through again and again they take 3% of a small run
    run_recipe(recipe, folder, on_stage=_show_answer(console), **options)
    _close(console, folder)


def _show_answer(console: Console) -> Callable[[Any, Any], None]:
    from paradigm.transcript import as_text

    def show(run: Any, stage: Any) -> None:
        path = run.files.folder / "transcripts.json"
        for entry in json.loads(path.read_text()) if path.exists() else []:
            if entry["stage"] == stage.name:
                console.print(f"  after {stage.name}: ", as_text(entry["tokens"]), "[green]right[/green]" if entry["correct"] else "[red]wrong[/red]")
        played = [e for e in run.files.evaluations() if e["stage"] == stage.name and e["final"] and e.get("opponent") and e["temperature"] == 1]
        if played:
            scores = ", ".join(f"{100 * e['correct'] / e['problems']:.1f}% against {e['opponent']}" for e in played)
            console.print(f"  after {stage.name}: {scores} ({played[0]['problems']:,} games each)", highlight=False)

    return show


def _close(console: Console, folder: Path) -> None:
    from paradigm.report import summary_table, write_report

    console.print(summary_table(folder))
    console.print(f"report: {write_report([folder])}")
    console.print(f"next:   paradigm sample {folder}")


def _stage(options: argparse.Namespace) -> None:
    import dataclasses

    from paradigm.recipe import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    stage = next((s for s in recipe.stages if s.kind == options.kind), None)
    if stage is None:
        raise ConfigError(f"{options.recipe} has no stage of kind {options.kind!r}; its stages are {', '.join(s.name for s in recipe.stages)}")
    stage = dataclasses.replace(stage, start="scratch", control=False)
    evaluation = dataclasses.replace(recipe.evaluation, recovery=())
    recipe = dataclasses.replace(recipe, stages=(stage,), evaluation=evaluation, initial=str(options.start or ""))
    folder = options.out or _new_folder(f"{recipe.name}-{options.kind}")
    _train(Console(), recipe, folder, source_name=options.recipe)


def _run_info(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.is_file():
        raise ConfigError(f"{folder} is no run directory: it has no run.json")
    return json.loads(path.read_text())


def _opened(options: argparse.Namespace) -> tuple[Any, str]:
    """The run of `options.run`, and the stage asked for."""
    from paradigm.recipe import decode_recipe
    from paradigm.recipe_run import RecipeRun

    info = _run_info(options.run)
    finished = [stage["name"] for stage in info["stages"]]
    main_line = [stage["name"] for stage in info["stages"] if not stage["control"]]
    name = options.stage or (main_line or finished or [""])[-1]
    if name not in finished:
        raise ConfigError(f"--stage must be a finished stage of {options.run} ({', '.join(finished) or 'none yet'}), got {name!r}")
    return RecipeRun(decode_recipe(info["resolved"]), options.run), name


def _eval(options: argparse.Namespace) -> None:
    from paradigm.evaluation import evaluate
    from paradigm.statistics import wilson_interval

    run, name = _opened(options)
    if run.world.is_game:
        raise ConfigError("games are measured against opponents, by the recipe's evaluation.opponents; see evaluations.jsonl")
    result = evaluate(run.sampler(run.load_policy(name)), run.world.environment, run.world.held_out(options.problems),
                      temperature=options.temperature, key=(options.seed, 1 << 42), kind_of=run.world.kind_of)  # fmt: skip
    success, low, high = wilson_interval(result.correct, result.problems)
    console = Console()
    console.print(f"{name}: {result.correct} of {result.problems} right, {100 * success:.1f}% (95% interval {100 * low:.1f} to {100 * high:.1f}), "
                  f"{result.tokens_per_problem:.1f} tokens a problem at temperature {options.temperature:g}")  # fmt: skip
    for kind, (right, of) in result.by_operation.items():
        console.print(f"  {kind}  {right} of {of}")


def _sample(options: argparse.Namespace) -> None:
    from paradigm.transcript import as_text, transcript

    run, name = _opened(options)
    tasks = options.problems or run.world.held_out(8)
    rollouts = run.sampler(run.load_policy(name)).collect(run.world.environment, tasks, group_size=options.samples, temperature=options.temperature,
                                                         key=(options.seed, 1 << 43))  # fmt: skip
    console = Console()
    for rollout in rollouts:
        if rollout.failed:
            raise ConfigError(f"{rollout.task!r} cannot be posed: {rollout.extras.get('failure', 'the environment refused it')}")
        line = as_text(transcript(rollout, run.world.environment))
        if not run.world.is_game:
            console.print(line, "[green]right[/green]" if rollout.reward >= 1 else "[red]wrong[/red]")
        elif rollout.seat == 0:  # the other seat's stream holds the same moves
            console.print(line, "the first player wins" if rollout.reward > 0 else "the second player wins" if rollout.reward < 0 else "a draw")


def _report(options: argparse.Namespace) -> None:
    from paradigm.report import write_report

    for folder in options.runs:
        _run_info(folder)
    Console().print(f"report: {write_report(options.runs, options.out)}")


def _bench(arguments: Sequence[str]) -> int:
    """The benchmarks are no part of the package: their records, the README they fill and their pinned rivals are the repository's."""
    root = Path(__file__).resolve().parent.parent
    if not (root / "benchmarks" / "harness.py").is_file():
        raise ConfigError(
            f"paradigm bench runs from a checkout, and this paradigm is installed in {root}: its benchmarks, records and pinned rivals are in the "
            "repository only. Clone it, and there: pip install --editable '.[bench]', then paradigm bench"
        )
    sys.path.insert(0, str(root))
    status: int = importlib.import_module("benchmarks.__main__").main(arguments, prog="paradigm bench")
    return status


if __name__ == "__main__":
    sys.exit(main())
