"""House rules of the tree: tests mirror it, files stay small, the score fits one screen, one place prints."""

import ast
import dataclasses
import importlib
import subprocess
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from pydantic import BaseModel

from steps.core.artifacts import Chosen, GateItems, Holdout, HoldoutState, Validation

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for top in ("steps", "pipelines") for path in (ROOT / top).rglob("*.py"))
NAMES = [path.relative_to(ROOT).as_posix() for path in SOURCES]
STAGES = [
    *("ingest", "split", "clean", "select", "plan", "mix"),
    *("train", "merge", "evaluate", "gate", "compare", "replay"),
]


@pytest.mark.parametrize("name", [name for name in NAMES if "/__init__" not in name])
def test_every_file_has_its_test(name: str) -> None:
    path = Path(name)
    if path.name.startswith("_"):
        pytest.skip("shared by its slot, tested through its methods")
    mirror = ROOT / "tests" / path.parent / f"test_{path.name}"
    assert mirror.exists(), f"{name}: its test belongs at {mirror.relative_to(ROOT)}"


@pytest.mark.parametrize("name", NAMES)
def test_no_file_is_long(name: str) -> None:
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    limit = 400
    if name.startswith("steps/methods/"):
        limit = 150
    elif name.startswith("steps/") and "/core/" not in name:
        limit = 200
    assert lines <= limit, f"{name}: {lines} lines, at most {limit}: split it where a reader would"


def test_the_score_fits_one_screen() -> None:
    tree = ast.parse((ROOT / "pipelines/refresh.py").read_text(encoding="utf-8"))
    score = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert (score.end_lineno or 0) - score.lineno < 40
    assert [arg.arg for arg in score.args.args] == ["do"]


COMMAND_LINE = ("pipelines/cli.py", "pipelines/commands/")


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(COMMAND_LINE)])
def test_only_the_command_line_prints(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    calls = [n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert "print" not in calls, f"{name}: log it, return it, or report it; the command line prints"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("steps/")])
def test_steps_read_no_clock_and_no_environment(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    used = {
        f"{n.value.id}.{n.attr}"
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
    }
    forbidden = used & {"os.environ", "os.getenv", "time.time", "datetime.now", "datetime.utcnow", "date.today"}
    assert not forbidden, f"{name}: {forbidden}: a step is decided by its arguments alone"


PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}  # modules
UNPICKLES = {  # what writes or reads one, by the end of its name
    *("torch.load", "torch.save", "torch.jit.load", "torch.package", "torch.distributed.checkpoint"),
    *("pandas.read_pickle", "pd.read_pickle", "to_pickle", "load_state_dict_from_url", "add_safe_globals"),
    *("register_for_checkpointing", "save_state", "load_state"),  # Accelerate's
}
UNSAFE = {("allow_pickle", True), ("weights_only", False), ("trust_remote_code", True)}  # arguments


def what_unpickles(text: str) -> set[str]:
    """What of a module could write or read a pickle, or run code that came with a model."""
    found, names = set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{each.name}" for each in node.names}
        if isinstance(node, ast.Attribute | ast.Name):
            names.add(ast.unparse(node))
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            found |= {name for name, value in UNSAFE if (node.arg, node.value.value) == (name, value)}
    found |= {name for name in names if name.split(".")[0] in PICKLES}
    return found | {name for name in names if any(f".{name}".endswith(f".{each}") for each in UNPICKLES)}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_unpickled(name: str) -> None:
    found = what_unpickles((ROOT / name).read_text(encoding="utf-8"))
    assert not found, f"{name}: {', '.join(found)}: tensors go into safetensors, the rest into JSON"


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(path)",
        "from torch import save",
        "from pickle import loads",
        "accelerator.register_for_checkpointing(method)",
        "self.accelerator.save_state(folder)",
        "save = torch.save",
        "np.load(path, allow_pickle=True)",
        "import joblib.numpy_pickle",
        "load_model(path, trust_remote_code=True)",
    ],
)
def test_the_law_on_pickles_sees_them(text: str) -> None:
    assert what_unpickles(text)


def test_the_law_on_pickles_lets_others_pass() -> None:
    text = "from safetensors.torch import load_file\nnp.load(path, allow_pickle=False)\nself.load_state_dict(x)"
    assert what_unpickles(text) == set()


MAKES_ARRAYS = {f"np.{name}{like}" for name in ("array", "empty", "full", "ones", "zeros") for like in ("", "_like")}


@pytest.mark.parametrize("name", [name for name in NAMES if "compiled import" in (ROOT / name).read_text("utf-8")])
def test_what_is_compiled_without_arrays_makes_none(name: str) -> None:
    """numba's cache hides the mistake on the machine of who made it: it is first seen in a fresh clone."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    bare = [f for f in functions if {ast.unparse(d) for d in f.decorator_list} & {"compiled", "inlined"}]
    calls = {f.name: {ast.unparse(n.func) for n in ast.walk(f) if isinstance(n, ast.Call)} for f in bare}
    wrong = [f for f, called in calls.items() if called & MAKES_ARRAYS]
    assert not wrong, f"{name}: {', '.join(wrong)}: take the array as an argument, or be @allocating"


def test_one_word_names_a_stage_everywhere() -> None:
    for stage in STAGES:
        assert (ROOT / f"steps/{stage}.py").exists()
        assert (ROOT / f"tests/steps/test_{stage}.py").exists()
        text = (ROOT / f"steps/{stage}.py").read_text(encoding="utf-8")
        assert f"\ndef {stage}(" in text, f"steps/{stage}.py: its public function is called {stage}"
        assert f"class {stage.capitalize()}Config" in text, (
            f"steps/{stage}.py: its section is {stage.capitalize()}Config"
        )


BLIND = ("select", "plan", "mix", "train", "merge", "compare", "replay")  # what the gate judges by is kept from these
JUDGED_BY = {GateItems, Holdout, HoldoutState}


def types_in(annotation: Any) -> set[Any]:
    """A type, those between its brackets, and those of its fields, however deep."""
    found: set[Any] = set()
    waiting = [annotation]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and kind not in found:
            found.add(kind)
            if issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind):
                waiting += get_type_hints(kind).values()
    return found


@pytest.mark.parametrize("stage", BLIND)
def test_what_the_gate_judges_by_is_kept_from_a_stage(stage: str) -> None:
    hints = get_type_hints(getattr(importlib.import_module(f"steps.{stage}"), stage))
    assert {GateItems, Holdout} & types_in(Holdout) == {GateItems, Holdout}
    for name, kind in hints.items():
        if (stage, name) == ("select", "kept"):
            continue  # carries the hold-out on to the flow; that it is not read is the next law
        seen = types_in(kind) & JUDGED_BY
        assert not seen, f"steps/{stage}.py: {name} holds {seen}: plan, choose and train by Validation alone"
    assert Validation in hints.values() or stage == "mix", f"steps/{stage}.py: it may look at Validation, mypy holds it"


def test_what_decides_a_mixture_holds_no_gate_items() -> None:
    from steps.methods.mixture import Pilot, Supply
    from steps.plan import supply_of

    kinds = [*get_type_hints(supply_of).values(), Supply, Pilot, Chosen]
    assert not set().union(*map(types_in, kinds)) & JUDGED_BY, "a planner sees validation losses, never gate items"
    assert not issubclass(GateItems, Validation), "mypy would let gate items pass for validation"
    assert not issubclass(Validation, GateItems)


SLOTS_OF_BLIND = ("select", "mixture", "order", "params", "schedule", "merge", "replay")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if name in {f"steps/{stage}.py" for stage in BLIND}
        or name.startswith(tuple(f"steps/methods/{slot}/" for slot in SLOTS_OF_BLIND))
    ],
)
def test_no_stage_or_method_before_the_gate_asks_for_its_items(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    read = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} & {"gate", "anchor", "fresh", "holdout"}
    named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & {kind.__name__ for kind in JUDGED_BY}
    assert not read | named, f"{name}: {read | named}: only evaluate and gate look at what the gate judges by"


def test_the_stages_of_dvc_are_called_after_the_steps_and_persist() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(stages) <= set(STAGES)
    for name, stage in stages.items():
        body = stage.get("do", stage)
        assert body["cmd"].startswith(f"perennial step {name}")
        for out in body["outs"]:
            assert all(options.get("persist") for options in out.values()), f"{name}: records must survive dvc repro"


def test_no_file_in_git_is_large() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    large = [name for name in files if (ROOT / name).exists() and (ROOT / name).stat().st_size > 1_000_000]
    assert large == [], "bytes belong to DVC"


def test_the_lock_installs_elsewhere() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    assert all("==" in pin and "+" not in pin and "://" not in pin for pin in pins), "no local labels, no addresses"
    found = dict(pin.split("==") for pin in pins)
    assert tuple(map(int, found["fastapi"].split(".")[:2])) < (0, 151), "Prefect 3.8 cannot start a flow with it"
    assert found["SQLAlchemy"].startswith("2.0."), "Prefect 3.8's schedules never create a run with 2.1"
