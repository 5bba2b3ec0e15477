"""What is known of a version: from its tags and its run, and nothing that is not there."""

from pathlib import Path

import pytest

from pipelines.edge.facts import base_licence, front_matter, read_facts
from pipelines.edge.registry import Registry
from pipelines.edge.session import Inputs
from steps.core.shards import write_atomic
from tests.facts import OUTCOME, known
from tests.pipelines.edge.forget.lines import line


def test_a_version_is_read_with_its_chain_and_without_what_was_never_written_down(tmp_path: Path) -> None:
    registry = known(tmp_path)
    found = read_facts(registry, "2")
    assert (found.line, found.version, found.parent, found.weights) == (registry.name, "2", "1", "w2")
    assert [each.version for each in found.chain] == ["1", "base"]
    assert (found.num_parameters, found.outcome) == (1, OUTCOME)
    assert (found.batches, found.sources, found.libraries, found.recipe) == ({}, None, None, None)
    first = read_facts(registry, "1").batches
    assert first is not None
    assert len(first["types"]) == 2


def test_what_a_version_wrote_beside_its_weights_is_read_when_they_are_gone(tmp_path: Path) -> None:
    registry = known(tmp_path)
    registry.write_file("1", "README.md", "card")
    registry.retire("1")
    assert registry.read_file("1", "README.md") == "card"
    assert registry.read_file("1", "nothing.md") is None
    assert read_facts(registry, "1").num_parameters == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nlicense: mit\n---\n# A model", {"license": "mit"}),
        ("# A model\n---\nlicense: mit\n---\n", {}),
        ("---\nlicense: mit\n", {}),
        ("---\n- a list\n---\n", {}),
        ("---\n: [\n---\n", {}),
    ],
)
def test_a_card_states_what_stands_before_its_text(text: str, found: dict[str, str]) -> None:
    assert front_matter(text) == found


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: our-own\n---\n", "our-own"),
        ("---\nlicense: [mit, isc]\n---\n", ""),
        ("no front matter", ""),
    ],
)
def test_the_licence_of_a_base_is_what_its_card_states(tmp_path: Path, card: str, licence: str) -> None:
    home = line(tmp_path)
    registry = Registry(home)
    logged = registry.logged(registry.get("1"), "lineage/inputs.json")
    assert logged is not None
    write_atomic(home.root / "p/README.md", card)  # the base lies in `p`
    assert base_licence(home.root, "owner/base", Inputs.model_validate_json(logged)) == licence


def test_a_distribution_states_its_licence_and_an_unknown_base_none(tmp_path: Path) -> None:
    assert base_licence(tmp_path, "pypi:pydantic", None) == "MIT"
    assert base_licence(tmp_path, "pypi:no-such-distribution-here", None) == ""
    assert base_licence(tmp_path, "tiny:", None) == ""
