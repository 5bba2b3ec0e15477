from pathlib import Path

import pytest

from steps.core.artifacts import Model
from steps.core.tokenizer import count_tokens, end_token, load_tokenizer, tokens_of
from tests.builders import END, build_model, build_workspace


def test_a_byte_level_tokenizer_counts_bytes(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    tokenizer = load_tokenizer(workspace, build_model(workspace))
    assert count_tokens(tokenizer, ["abc", "", "é"] * 200) == [3, 0, 2] * 200


def test_a_text_that_spells_a_special_token_is_text(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    tokenizer = load_tokenizer(workspace, build_model(workspace))
    (tokens,) = tokens_of(tokenizer, [f"a{END}b"])
    assert len(tokens) == len(END) + 2
    assert end_token(tokenizer) not in tokens


def test_the_separator_can_be_named(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    tokenizer = load_tokenizer(workspace, build_model(workspace))
    assert end_token(tokenizer, "x") == tokenizer.convert_tokens_to_ids("x")
    with pytest.raises(ValueError, match="separator '<none>' is not one token"):
        end_token(tokenizer, "<none>")
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"no end-of-text token; name one in mix\.separator"):
        end_token(tokenizer)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="no tokenizer that can be read"):
        load_tokenizer(workspace, Model(digest="0", path="bare", num_parameters=0))


def test_a_model_outside_the_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leaves the workspace"):
        load_tokenizer(build_workspace(tmp_path), Model(digest="0", path="../elsewhere", num_parameters=0))
