"""The command: `paradigm run recipes/quickstart.toml`, each stage alone, and what one does with a run afterwards."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import os
import signal
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
  paradigm run recipes/chatgpt.toml data.pairs=pairs.jsonl     imitate, a reward model on preferences, PPO
  paradigm run --resume runs/quickstart-1                 go on where a killed run stopped, bit for bit
  paradigm rl recipes/quickstart.toml --from runs/quickstart-1/stages/imitate/model
  paradigm eval runs/quickstart-1 --stage rl --temperature 0
  paradigm eval runs/reasoning-1 --samples 16 --pass-at 1,8,16
  paradigm sample runs/quickstart-1 "385+467"
  paradigm report runs/quickstart-1 runs/quickstart-2     one page that compares runs
  paradigm data build notes/ more.jsonl --out corpus/     text into checksummed token shards
  torchrun --nproc-per-node 2 -m paradigm run recipes/quickstart.toml     run, each stage alone, and eval, on several ranks
  paradigm bench grpo_step --quick                        this machine beside TRL; without a subject, what can be measured
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 after an error that was explained, 2 for a wrong call, 130 after Ctrl-C.

    Under torchrun, each of its ranks runs it; the first speaks for all, but for errors.
    """
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
    logging.basicConfig(level=logging.INFO if _rank() == 0 else logging.WARNING, format="%(message)s")
    return _explained(lambda: options.command(options))


def _rank() -> int:
    """Torchrun's, before a process group is there to ask."""
    return int(os.environ.get("RANK", "0"))


def _explained(run: Callable[[], int | None]) -> int:
    """The exit status of a command that returns one, or None for 0; errors are explained without a traceback."""
    try:
        return run() or 0
    except KeyboardInterrupt:
        if _rank() == 0:
            sys.stderr.write("\nInterrupted; what was checkpointed is kept.\n")
        return 130
    except (ConfigError, ValueError, OSError, ImportError) as error:
        if os.environ.get("PARADIGM_TRACEBACK"):
            raise
        who = f"paradigm (rank {_rank()})" if int(os.environ.get("WORLD_SIZE", "1")) > 1 else "paradigm"
        sys.stderr.write(f"{who}: {error}\n(set PARADIGM_TRACEBACK=1 to see where)\n")
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

    run = command("run", _on_every_rank(_run), "run every stage of a recipe in one run directory, and write its report")
    run.add_argument("recipe", nargs="?", help="a recipe file, such as recipes/quickstart.toml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="values of the recipe to change: seed=1, rl.steps=100, policy.hidden_size=192")
    run.add_argument("--resume", metavar="RUN", type=Path, help="go on with an interrupted run directory")
    run.add_argument("--out", type=Path, help="the run directory (default: runs/NAME-1, -2, ...)")
    run.add_argument("--tensorboard", action="store_true", help="write TensorBoard events too (extra: tensorboard)")
    run.add_argument("--setup-seconds", type=float, default=0.0, help="seconds that setting up took, for the report")
    summaries = {
        "pretrain": "train on documents: real text and worked problems",
        "imitate": "train on demonstrations",
        "reward": "train a reward model on pairs of dialogues, the first preferred to the second",
        "rl": "train on the policy's own rollouts, by the verifier's verdict alone",
        "distil": "train on the policy's own verified rollouts, the thinking removed",
    }
    for kind, summary in summaries.items():
        stage = command(kind, _on_every_rank(_stage), f"{summary} (the recipe's first {kind} stage, alone)")
        stage.add_argument("recipe", help="a recipe file that has such a stage")
        stage.add_argument("overrides", nargs="*", metavar="key=value", help=f"values to change: {kind}.learning_rate=1e-3")
        stage.add_argument("--from", dest="start", type=Path, metavar="MODEL", help="folder of weights to start from (default: the recipe's own)")
        stage.add_argument("--out", type=Path, help="the run directory (default: runs/NAME-1, -2, ...); an interrupted one goes on")
        stage.set_defaults(kind=kind)
    evaluation = command("eval", _on_every_rank(_eval), "measure a stage's policy on held-out problems, pass@k for each kind, with 95% intervals")
    evaluation.add_argument("run", type=Path, help="a run directory")
    evaluation.add_argument("--stage", help="which stage's policy (default: the last of the main line)")
    evaluation.add_argument("--problems", type=int, default=1000, help="how many held-out problems (default: 1000)")
    evaluation.add_argument("--temperature", type=float, default=1.0, help="of sampling; 0 is greedy (default: 1)")
    evaluation.add_argument("--samples", type=int, default=1, help="attempts at each problem, for pass@k (default: 1)")
    evaluation.add_argument("--pass-at", metavar="K,K...", help="the k of pass@k, at most the samples (default: 1 and the samples)")
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


def _on_every_rank(command: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """The command as one of the ranks that torchrun started, if it did."""

    def run(options: argparse.Namespace) -> None:
        from paradigm.distributed import joined, world

        with joined():
            if world() > 1:  # what torchrun sends the others when one ends
                signal.signal(signal.SIGTERM, signal.default_int_handler)
            command(options)

    return run


def _console() -> Console:
    from paradigm.distributed import is_first

    return Console(quiet=not is_first())


def _add_build_arguments(parser: argparse.ArgumentParser) -> None:
    from paradigm.sources import build

    build.add_arguments(parser)
    parser.set_defaults(command=build.run)


def _new_folder(name: str) -> Path:
    from paradigm.distributed import from_first

    def make() -> str:
        number = 1
        while True:
            try:
                (folder := Path("runs") / f"{name}-{number}").mkdir(parents=True)
                return str(folder)
            except FileExistsError:
                number += 1

    return Path(from_first(make))


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
    console = _console()
    console.print(f"[bold]{recipe.name}[/bold] in {folder}: {', '.join(stage.name for stage in recipe.stages)}")
    _train(console, recipe, folder, source_name=source, setup_seconds=options.setup_seconds, tensorboard=options.tensorboard)


def _train(console: Console, recipe: Any, folder: Path, **options: Any) -> None:
    from paradigm.distributed import by_first
    from paradigm.recipe_run import run_recipe

    gc.freeze()  # the imported modules: looked through again and again they take 3% of a small run
    run_recipe(recipe, folder, on_stage=_show_answer(console), **options)
    by_first(_close)(console, folder)


def _show_answer(console: Console) -> Callable[[Any, Any], None]:
    from paradigm.transcript import as_text

    def show(run: Any, stage: Any) -> None:
        path = run.files.folder / "transcripts.json"
        for entry in [e for e in json.loads(path.read_text()) if e["stage"] == stage.name][:1] if path.exists() else []:
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
    evaluation = dataclasses.replace(recipe.evaluation, recovery=(), gold="", text_of="", text_tokens=0)
    data = dataclasses.replace(recipe.data, vocabulary=0) if options.start else recipe.data  # the tokens are those of the weights
    recipe = dataclasses.replace(recipe, stages=(stage,), evaluation=evaluation, data=data, initial=str(options.start or recipe.initial))
    folder = options.out or _new_folder(f"{recipe.name}-{options.kind}")
    _train(_console(), recipe, folder, source_name=options.recipe)


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
    main_line = [stage["name"] for stage in info["stages"] if not stage["control"] and stage["kind"] != "reward"]
    name = options.stage or (main_line or finished or [""])[-1]
    if name not in finished:
        raise ConfigError(f"--stage must be a finished stage of {options.run} ({', '.join(finished) or 'none yet'}), got {name!r}")
    return RecipeRun(decode_recipe(info["resolved"]), options.run), name


def _eval(options: argparse.Namespace) -> None:
    from rich import box
    from rich.table import Table

    from paradigm.evaluation import attempt

    run, name = _opened(options)
    if run.world.is_game:
        raise ConfigError("games are measured against opponents, by the recipe's evaluation.opponents; see evaluations.jsonl")
    if run.preferences is not None:
        raise ConfigError("no answer is right or wrong in a world of preferences; its runs are measured by reward models, see preferences.jsonl")
    if options.samples < 1 or options.problems < 1:
        raise ConfigError(f"--samples and --problems must be >= 1, got {options.samples} and {options.problems}")
    try:
        wanted = sorted({int(k) for k in options.pass_at.split(",")} if options.pass_at else {1, options.samples})
    except ValueError as error:
        raise ConfigError(f"--pass-at must be numbers like 1,8, got {options.pass_at!r}") from error
    if not 1 <= wanted[0] <= wanted[-1] <= options.samples:
        raise ConfigError(f"--pass-at must be from 1 to --samples {options.samples}, got {options.pass_at}")
    sampler, world = run.sampler(run.load_policy(name)), run.world
    console = _console()
    for what, tasks, key in (("", world.held_out(options.problems), 1 << 42), ("never trained on", world.transfer_tasks(options.problems), 3 << 42)):
        if not len(tasks):
            continue
        result = attempt(sampler, world.environment, tasks, samples=options.samples, temperature=options.temperature, key=(options.seed, key),
                         max_tokens=run.recipe.evaluation.max_tokens, kind_of=world.kind_of)  # fmt: skip
        if what == "":
            first = result.pass_at(1)
            console.print(
                f"{name}: {sum(result.correct)} of {len(tasks) * options.samples} right, {_interval(first)} (95% interval), "
                f"{result.tokens_per_attempt:.1f} tokens a problem at temperature {options.temperature:g}", highlight=False,
            )  # fmt: skip
        table = Table(f"kind{', ' + what if what else ''}", "problems", *(f"pass@{k}" for k in wanted), box=box.SIMPLE_HEAD, pad_edge=False)
        kinds = sorted(set(result.kinds))
        for kind in (*(kinds if len(kinds) > 1 else ()), None):
            counted = sum(kind in (None, own) for own in result.kinds)
            table.add_row(kind if kind is not None else "all", f"{counted:,}", *(_interval(result.pass_at(k, kind)) for k in wanted))
        console.print(table)
        if result.failed:
            console.print(f"{result.failed} attempts failed, and count as wrong")


def _interval(estimate: Any) -> str:
    return f"{100 * estimate.value:.1f}% ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _sample(options: argparse.Namespace) -> None:
    import asyncio

    run, name = _opened(options)
    tasks = [run.world.posed(text) for text in options.problems] or list(run.world.held_out(8))
    asyncio.run(_stream_answers(Console(), run, run.sampler(run.load_policy(name)), tasks, options))


async def _stream_answers(console: Console, run: Any, sampler: Any, tasks: list[Any], options: argparse.Namespace) -> None:
    """All are answered at once; they are shown one after another, the one at the bottom as its tokens come."""
    from paradigm.async_sampler import AsyncSampler, Finished
    from paradigm.transcript import Transcriber, as_text

    world = run.world
    num_answers = len(tasks) * options.samples
    async with AsyncSampler(sampler, world.environment, key=(options.seed, 1 << 43), max_requests=num_answers) as rollouts:
        requests = [
            await rollouts.submit(task, temperature=options.temperature, group=number)
            for number, task in enumerate(tasks) for _ in range(options.samples)
        ]  # fmt: skip
        for request in requests:
            shown = Transcriber(world.environment, run.tokenizer, request.task)
            async for event in request:
                if isinstance(event, Finished):
                    rollout = event.trajectories[0]
                elif event.seat == 0:  # a game's other seat hears and says the same moves
                    line = as_text(list(shown.add(event.tokens, event.action_mask, event.segment)))
                    console.print(line, end="", soft_wrap=True)
            if rollout.failed:
                raise ConfigError(f"{rollout.task!r} cannot be posed: {rollout.extras.get('failure', 'the environment refused it')}")
            if run.preferences is not None:
                verdict = ""
            elif not world.is_game:
                verdict = "[green]right[/green]" if rollout.reward >= 1 else "[red]wrong[/red]"
            else:
                verdict = "the first player wins" if rollout.reward > 0 else "the second player wins" if rollout.reward < 0 else "a draw"
            console.print(f" {verdict}")


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
