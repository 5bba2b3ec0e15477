"""`make chaos`: every case in turn, on one world as long as nothing is lost in it; what has run is not run again."""

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.chaos.results import RESULTS, Result, keep, kept
from pipelines.edge.orchestration import prepare_environment

if TYPE_CHECKING:
    from benchmarks.chaos.checks import Undisturbed
    from benchmarks.chaos.faults import Case
    from benchmarks.chaos.world import World

REPORT = Path("docs/chaos.md")


def main(arguments: Sequence[str]) -> int:
    """Run what has not run yet; 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--cases", type=int, help="at most so many")
    parser.add_argument("--only", help="cases whose name fits this regular expression, even if they ran well before")
    parser.add_argument("--afresh", action="store_true", help="forget what ran before")
    parser.add_argument("--report", action="store_true", help="only write the report of what ran")
    parser.add_argument("--list", action="store_true", help="only name the cases")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the world under way is ended, too
    os.environ["OMP_NUM_THREADS"] = "1"  # the same weights, bit for bit, want the same number of threads
    prepare_environment(Path(tempfile.gettempdir()) / "perennial-chaos")

    from benchmarks.chaos.faults import cases
    from benchmarks.chaos.report import write_report

    everything = sorted(cases(), key=lambda case: case.name)
    random.Random(options.seed).shuffle(everything)
    if options.list:
        print("\n".join(f"{case.name:<40} {case.what}" for case in everything))
        return 0
    if options.afresh:
        RESULTS.unlink(missing_ok=True)
    known = {name for name, one in last_words(options.seed).items() if not one.problems}
    chosen = [
        case for case in everything if (re.search(options.only, case.name) if options.only else case.name not in known)
    ]
    if not options.report:
        run_cases(options.seed, chosen[: options.cases])
    ran = last_words(options.seed)
    write_report(REPORT, options.seed, list(ran.values()), everything)
    return int(any(one.problems for one in ran.values()))


def last_words(seed: int) -> dict[str, Result]:
    """What ran with a seed, by name; of a case that ran again, the last."""
    return {one.name: one for one in kept(seed)}


def run_cases(seed: int, chosen: Sequence["Case"]) -> None:
    """One case after the other; a world in which something was lost is left, for the next case to have its own."""
    from benchmarks.chaos.checks import Undisturbed
    from benchmarks.chaos.world import DELIVERIES

    with tempfile.TemporaryDirectory(prefix="perennial-chaos-") as folder:
        undisturbed, world, worlds = Undisturbed(Path(folder)), None, 0
        try:
            for number, case in enumerate(chosen, 1):
                if world is None or world.delivered > DELIVERIES - 2:
                    if world:
                        end(seed, world)
                    worlds += 1
                    world = new_world(Path(folder) / f"world-{worlds}")
                result = run_case(seed, case, world, undisturbed)
                keep(result)
                mark = "skipped" if result.skipped else "LOST" if result.problems else "ok"
                print(f"{number:>3}/{len(chosen)} {mark:<7} {case.name:<38} {result.seconds:5.0f} s  {result.happened}")
                for line in result.problems:
                    print(f"            {line}")
                sys.stdout.flush()
                if result.problems:
                    save_logs(world, case.name)
                    world.end()
                    world = None
        finally:
            if world:
                end(seed, world)


def new_world(folder: Path) -> "World":
    """A world that is up and has refreshed once."""
    from benchmarks.chaos.world import World

    world = World(folder)
    world.open()
    return world


def run_case(seed: int, case: "Case", world: "World", undisturbed: "Undisturbed") -> Result:
    """Break it, wait until it has recovered, and look whether anything is lost."""
    from benchmarks.chaos.checks import problems

    result = Result(seed, case.name, case.what, case.recovery, case.kills)
    if case.needs_mount and not world.mounted:
        result.skipped = "this user may not mount a disk"
        return result
    began = time.monotonic()
    try:
        result.happened = case.act(world, random.Random(f"{seed}/{case.name}"))
        broken = time.monotonic()
        if result.happened.startswith("skipped: "):
            result.skipped = result.happened.removeprefix("skipped: ")
            return result
        world.recover()
        result.recovered_seconds = round(time.monotonic() - broken, 1)
        world.quiet()
        result.problems = problems(world, undisturbed)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this case found
        result.problems = [f"{type(error).__name__}: {error}"]
        traceback.print_exc(file=sys.stdout)
    result.seconds = round(time.monotonic() - began, 1)
    return result


def end(seed: int, world: "World") -> None:
    """End a world as a person does; nothing of it may be left."""
    result = Result(seed, "down", "`perennial down` after all that: no process is left", "`perennial down`")
    began = time.monotonic()
    try:
        world.perennial("down")
        result.problems = [f"left: {' '.join(process.cmdline())[:200]}" for process in world.left()]
    except Exception as error:  # noqa: BLE001
        result.problems = [f"{type(error).__name__}: {error}"]
    result.seconds = round(time.monotonic() - began, 1)
    keep(result)
    world.end()


def save_logs(world: "World", name: str) -> None:
    """What the parts said, beside the results: the world itself goes."""
    place = RESULTS.parent / "logs" / name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(world.home.hidden / "service", place, ignore=shutil.ignore_patterns("*.lock"))
    shutil.copyfile(world.home.ledger_file, place / "ledger.jsonl")
    if (world.folder / "told").exists():
        shutil.copyfile(world.folder / "told", place / "told")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
