"""A new workspace, from the sample's own files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

SAMPLE = Path(__file__).resolve().parent.parent.parent
FILES = (
    "perennial.yaml",
    "dvc.yaml",
    "data/tasks.yaml",
    "data/contracts/documents.json",
    "data/contracts/documents-clean.json",
    "data/README.md",
)
IGNORED = """.perennial/
/data/*/
!/data/contracts/
!/data/suites/
!/data/landing/
/data/landing/*/
/data/*.json
/data/*.jsonl
"""


def make_workspace(folder: Path) -> Iterator[str]:
    """Make a workspace in an empty or new folder; yields a line for each thing made, then the next commands.

    Raises:
        ValueError: the folder holds a workspace already.
    """
    if (folder / "data" / "tasks.yaml").exists():
        raise ValueError(f"{folder}: holds a workspace already (data/tasks.yaml); nothing was changed")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SAMPLE / name, folder / name)
        yield f"made {folder / name}"
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text(IGNORED, encoding="utf-8")
    (folder / "data" / "landing").mkdir(exist_ok=True)
    settings = folder / "perennial.yaml"
    name = "".join(c if c.isalnum() else "-" for c in folder.resolve().name.lower()).strip("-") or "perennial"
    line = yaml.safe_dump({"name": name}).strip()  # quoted where YAML would read a number or a truth
    settings.write_text(settings.read_text(encoding="utf-8").replace("name: perennial", line, 1), encoding="utf-8")
    yield "next:"
    yield f"  edit {folder / 'data/tasks.yaml'}: your tasks"
    yield f"  perennial -w {folder} land TASK FILES…"
    yield f"  perennial -w {folder} refresh --dry-run"
    yield f"  perennial -w {folder} refresh"
