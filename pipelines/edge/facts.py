"""What is known of a registered version: read from its tags and from what its run logged, on whatever machine."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import Field

from pipelines.edge.lineage import FORGOTTEN
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import Registered, Registry
from pipelines.edge.sources import SOURCES, Sources
from steps.core.artifacts import Frozen, Version

if TYPE_CHECKING:
    from pipelines.edge.session import Inputs

LIBRARIES = "lineage/libraries.json"  # in the run of a version
INPUTS, RECIPE, OUTCOME, STAGES = "lineage/inputs.json", "lineage/recipe.json", "outcome.json", "lineage/stages.json"
DVC = "perennial.dvc."  # how the tags that hold a task's landings by DVC's hash begin


class Ancestor(Frozen):
    """A version before this one, or the base."""

    version: str
    verdict: str = ""
    created: str = ""
    recipe: str = ""
    weights: str = ""


class Facts(Frozen):
    """One version. What a version from before something was written down lacks is none, never a guess."""

    line: str = Field(description="name of the registered model")
    version: str
    verdict: str
    created: str = Field(description="ISO 8601, UTC")
    recipe_name: str
    recipe: dict[str, Any] | None = Field(description="as its file has it")
    fingerprint: str = Field(description="of the recipe")
    seed: str
    base: str = Field(description="address of the base, as the recipe spells it")
    base_licence: str = Field(description="as its own files state it; empty: they state none")
    code: str = Field(description="Git revision of the pipeline")
    code_digests: dict[str, str] = Field(description="by stage: of its source and the libraries behind its numbers")
    libraries: dict[str, str] | None
    weights: str = Field(description="digest of the weights, tokenizer and configuration")
    num_parameters: int | None = None
    parent: str
    chain: tuple[Ancestor, ...] = Field(description="the parent first, the base last")
    batches: dict[str, tuple[str, ...]] | None = Field(description="task -> batches that took part")
    landings: dict[str, str] = Field(description="task -> DVC's hash of its landings")
    sources: Sources | None
    outcome: Outcome | None
    forgotten: str = Field("", description="how it knew documents that were forgotten since; empty: none were")
    run: str


def read_facts(registry: Registry, number: str) -> Facts:
    """Everything that is known of a version.

    Raises:
        ValueError: there is no such version.
    """
    version = registry.get(number)
    tags = version.tags
    inputs = read_inputs(registry, version)
    landings = {name.removeprefix(DVC): value for name, value in tags.items() if name.startswith(DVC)}
    outcome = read_json(registry, version, OUTCOME)
    sources = read_json(registry, version, SOURCES)
    return Facts(
        line=registry.name,
        version=version.number,
        verdict=version.verdict,
        created=when(version),
        recipe_name=tags.get("perennial.recipe", ""),
        recipe=read_json(registry, version, RECIPE),
        fingerprint=tags.get("perennial.recipe_fingerprint", ""),
        seed=tags.get("perennial.seed", ""),
        base=tags.get("perennial.base", ""),
        base_licence=base_licence(registry.home.root, tags.get("perennial.base", ""), inputs),
        code=tags.get("perennial.source", ""),
        code_digests=inputs.code if inputs else {},
        libraries=read_json(registry, version, LIBRARIES),
        weights=tags.get("perennial.weights", ""),
        num_parameters=_num_parameters(registry, number),
        parent=tags.get("perennial.parent", ""),
        chain=tuple(_chain(registry, version)),
        batches={task: tuple(b.name for b in part.batches) for task, part in inputs.landed.items()} if inputs else None,
        landings=dict(sorted(landings.items())),
        sources=Sources.model_validate(sources) if sources else None,
        outcome=Outcome.model_validate_json(json.dumps(outcome)) if outcome else None,
        forgotten=tags.get(FORGOTTEN, ""),
        run=tags.get("perennial.run", ""),
    )


def read_inputs(registry: Registry, version: Registered) -> "Inputs | None":
    """What a version was made from; none: its run has no such file."""
    from pipelines.edge.session import Inputs

    found = read_json(registry, version, INPUTS)
    return Inputs.model_validate_json(json.dumps(found)) if found else None


def read_json(registry: Registry, version: Registered, name: str) -> Any:
    """A JSON file that a version's run logged; none: there is no such file."""
    text = registry.logged(version, name)
    return None if text is None else json.loads(text)


def when(version: Registered) -> str:
    """When a version was registered."""
    return datetime.fromtimestamp(version.created / 1000, UTC).isoformat(timespec="seconds")


def _chain(registry: Registry, version: Registered) -> list[Ancestor]:
    known: Mapping[str, Registered] = {each.number: each for each in registry.versions()}
    found: list[Ancestor] = []
    parent = version.tags.get("perennial.parent", "")
    while parent in known and len(found) < len(known):
        each = known[parent]
        tags = each.tags
        found.append(
            Ancestor(
                version=parent,
                verdict=each.verdict,
                created=when(each),
                recipe=tags.get("perennial.recipe", ""),
                weights=tags.get("perennial.weights", ""),
            )
        )
        parent = tags.get("perennial.parent", "")
    return [*found, Ancestor(version=parent)]


def _num_parameters(registry: Registry, number: str) -> int | None:
    stored = read_version(registry, number)
    return stored.model.num_parameters if stored else None


def read_version(registry: Registry, number: str) -> Version | None:
    """What belongs to a version as it was written down, its weights there or removed since."""
    for name in ("version.json", "retired.json"):
        text = registry.read_file(number, name)
        if text is not None:
            return Version.model_validate_json(text)
    return None


def base_licence(root: Path, address: str, inputs: "Inputs | None") -> str:
    """The licence of a base model as its own card, or the distribution that it came in, states it."""
    if inputs is not None and inputs.parent.references:
        card = root / inputs.parent.references[0].path / "README.md"
        if card.is_file() and (stated := front_matter(card.read_text(encoding="utf-8", errors="replace"))):
            name = stated.get("license")
            named = stated.get("license_name") if name == "other" else name
            if isinstance(named, str):
                return named
    kind, _, name = address.partition(":")
    if kind == "pypi":
        try:
            metadata = distribution(name).metadata
        except PackageNotFoundError:
            return ""
        fields = [str(metadata[name]) for name in ("License-Expression", "License") if name in metadata]
        return next((each.strip().split("\n")[0][:80] for each in fields if each), "")
    return ""


def front_matter(text: str) -> dict[str, Any]:
    """What a card states in YAML before its text; empty where it states nothing that can be read."""
    head, _, rest = text.partition("\n")
    if head.strip() != "---" or "\n---" not in rest:
        return {}
    try:
        found = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
