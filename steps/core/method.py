"""Methods and where they come from: the file system is the registry.

`objective: {method: threshold-margin}` in a recipe is `steps/methods/objective/threshold_margin.py`, class
`ThresholdMargin`. Only the methods that a recipe names are imported.
"""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

METHODS = Path(__file__).parent.parent / "methods"


class Cite(BaseModel):
    """Where a method comes from, and how far that was checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=3)
    id: str = Field(pattern=r"^(arXiv:\d{4}\.\d{4,5}|doi:\S+|ours|[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)$")
    where: str = Field(min_length=1, description="the place in the source")
    checked: Literal["paper", "code", "secondary", "recalled"]


class Method(BaseModel):
    """A frozen set of knobs with one to three verbs and a citation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    cite: ClassVar[Cite]

    @classmethod
    def method_name(cls) -> str:
        """Its name in a recipe: the file's, with dashes."""
        return cls.__module__.rsplit(".", 1)[-1].replace("_", "-")

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"method": self.method_name(), **handler(self)}


MethodType = TypeVar("MethodType", bound=Method)


def method_names(slot: str) -> list[str]:
    """The methods of a slot, by their names in a recipe."""
    files = (METHODS / slot).glob("[a-z]*.py")
    return sorted(file.stem.replace("_", "-") for file in files)


def slot_names() -> list[str]:
    """The open slots."""
    return sorted(folder.name for folder in METHODS.iterdir() if (folder / "__init__.py").exists())


def load_method(slot: str, name: str) -> type[Method]:
    """The class of a method.

    Raises:
        ValueError: there is no such method; the message names those that exist.
    """
    if name not in method_names(slot):
        raise ValueError(f"{slot}: no method {name!r}; there are: {', '.join(method_names(slot))}")
    stem = name.replace("-", "_")
    module = importlib.import_module(f"steps.methods.{slot}.{stem}")
    found: type[Method] = getattr(module, "".join(part.capitalize() for part in stem.split("_")))
    assert issubclass(found, Method), f"{found} is not a Method"
    return found


def from_recipe(slot: str) -> Callable[[Any], Any]:
    """A validator that turns `{method: name, knob: value}` into the method; use with `BeforeValidator`."""

    def build(value: Any) -> Any:
        if isinstance(value, Method):
            return value
        if isinstance(value, str):
            value = {"method": value}
        if not isinstance(value, dict) or "method" not in value:
            raise ValueError(f"{slot}: wanted {{method: name, ...}}, found {value!r}; there are: {method_names(slot)}")
        knobs = {key: knob for key, knob in value.items() if key != "method"}
        return load_method(slot, str(value["method"])).model_validate(knobs)

    return build


def list_from_recipe(slot: str) -> Callable[[Any], Any]:
    """A validator that turns one method, or a list of them, into a tuple."""
    build = from_recipe(slot)

    def build_all(value: Any) -> Any:
        return tuple(build(one) for one in (value if isinstance(value, (list, tuple)) else [value]))

    return build_all


def summary(slot: str, name: str) -> str:
    """The first line of a method's docstring, read without importing it."""
    tree = ast.parse((METHODS / slot / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    doc = ast.get_docstring(classes[-1]) if classes else None
    return (doc or "").split("\n", 1)[0]
