"""A task's contract: a Great Expectations suite that every document must meet, row by row.

Great Expectations takes seconds to import, so it is imported when the first rows are checked.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steps.core.shards import canonical_json, digest_of

CONTRACTS = "data/contracts"
BY_ROW = ("expect_column_values_to_", "expect_column_value_lengths_to_")
BY_TABLE = ("expect_table_columns_to_", "expect_table_column_count_to_")
ACROSS_ROWS = ("_be_unique", "_be_increasing", "_be_decreasing")
FILLER = ("expect", "column", "table", "values", "value", "to", "be")
NUM_EXAMPLES = 10
EXAMPLE_CHARACTERS = 100


class Contract:
    """A suite and what its checks have found so far.

    Rows come in portions, so an expectation must speak of single rows or of the columns; one that compares rows is
    refused. `mostly` is not looked at: every row that breaks an expectation is named. An expectation whose
    `$PARAMETER` the task does not give is left out.
    """

    def __init__(
        self,
        path: Path,
        parameters: Mapping[str, Sequence[str]],
        *,
        suite: Mapping[str, Any] | None = None,
        shown: Callable[[str], str] | None = None,
    ) -> None:
        """Read a suite from its file, or take one that was made; `shown` masks and shortens an example.

        Raises:
            ValueError: there is no such suite, or it holds what cannot be checked in portions.
        """
        self.path = path
        try:
            suite = json.loads(path.read_text(encoding="utf-8")) if suite is None else suite
            self.name = str(suite["name"])
            stated = [{"kwargs": {}, **one, "type": str(one["type"])} for one in suite["expectations"]]
        except FileNotFoundError as error:
            there = ", ".join(sorted(file.stem for file in path.parent.glob("*.json"))) or "none"
            raise ValueError(f"{path}: no such contract; there are: {there}; correct tasks.yaml or add it") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: wanted {{name, expectations: [{{type, kwargs}}, ...]}}, found {error!r}; correct the suite"
            ) from error
        for one in stated:
            if not one["type"].startswith(BY_ROW + BY_TABLE) or one["type"].endswith(ACROSS_ROWS):
                raise ValueError(
                    f"{path}: {one['type']} compares rows, but documents are checked in portions; "
                    f"use one that begins with {', '.join(BY_ROW + BY_TABLE)}"
                )
        self._parameters = {name: list(values) for name, values in parameters.items() if values}
        self._expectations = [one for one in stated if _parameters_of(one) <= self._parameters.keys()]
        self._shown = shown or (lambda text: text[:EXAMPLE_CHARACTERS])
        self.digest = digest_of({"suite": suite, "parameters": self._parameters})
        self._found: dict[int, dict[str, Any]] = {}
        self._engine: Any = None

    def check(self, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """For each row the first expectation, in the order of the suite, that it breaks; none: it breaks none.

        Raises:
            ValueError: an expectation about the columns fails, or one cannot be evaluated.
        """
        reasons: list[str | None] = [None] * len(rows)
        results = self._validate(rows)
        for position, expectation in enumerate(self._expectations):
            result = results[position]
            if "unexpected_index_list" in result["result"]:
                for index in result["result"]["unexpected_index_list"]:
                    reasons[index] = reasons[index] or short_name(expectation)
            elif not result["success"]:
                why = _exceptions(result["exception_info"]) or canonical_json(result["result"])
                raise ValueError(
                    f"{self.path}: {expectation['type']} {canonical_json(expectation['kwargs'])} "
                    f"failed for the whole table: {why}; correct the contract or the landed files"
                )
            self._add(position, result)
        return reasons

    @property
    def found(self) -> dict[int, dict[str, Any]]:
        """What all checks found, in plain values, for `add` of another contract of the same suite."""
        return self._found

    def add(self, found: Mapping[int, Mapping[str, Any]]) -> None:
        """Add what was found elsewhere."""
        for position, result in sorted(found.items()):
            self._add(position, result)

    def result(self) -> dict[str, Any]:
        """What all checks found, as Great Expectations writes it, without times and identifiers."""
        results = list(self._found.values())
        passed = sum(result["success"] for result in results)
        return {
            "success": passed == len(results),
            "results": results,
            "suite_name": self.name,
            "suite_parameters": {},
            "statistics": {
                "evaluated_expectations": len(results),
                "successful_expectations": passed,
                "unsuccessful_expectations": len(results) - passed,
                "success_percent": 100 * passed / len(results) if results else None,
            },
            "meta": {"contract_digest": self.digest},
        }

    def _validate(self, rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
        """The result of each expectation, by its position in the suite: results come in an order of their own."""
        import great_expectations
        import pandas
        from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

        if self._engine is None:
            stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)  # else every run leaves a folder behind
            config = DataContextConfig(store_backend_defaults=stores)
            context = great_expectations.get_context(mode="ephemeral", project_config=config)
            context.variables.progress_bars = {"globally": False}
            asset = context.data_sources.add_pandas("documents").add_dataframe_asset("documents")
            self._engine = asset.add_batch_definition_whole_dataframe("portion")
        batch = self._engine.get_batch({"dataframe": pandas.DataFrame(list(rows), dtype=object)})
        marked = [{**one, "meta": {"position": position}} for position, one in enumerate(self._expectations)]
        try:
            suite = great_expectations.ExpectationSuite(name=self.name, expectations=marked)
        except ValueError as error:
            raise ValueError(f"{self.path}: Great Expectations refuses the suite: {error}; correct it") from error
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "This pattern is interpreted as a regular expression, and has match groups"
            )
            checked = batch.validate(
                suite, result_format={"result_format": "COMPLETE"}, expectation_parameters=self._parameters
            )
        results = checked.to_json_dict()["results"]
        found = {result["expectation_config"]["meta"]["position"]: result for result in results}
        for one in marked:
            if one["meta"]["position"] not in found:  # Great Expectations logs what it cannot read, and goes on without
                raise ValueError(
                    f"{self.path}: {one['type']} {canonical_json(one['kwargs'])} is no expectation that Great "
                    "Expectations knows, or stands in the suite twice; correct the suite"
                )
        return found

    def _resolved(self, expectation: Mapping[str, Any]) -> dict[str, Any]:
        kwargs = {
            key: self._parameters[value["$PARAMETER"]] if isinstance(value, dict) and "$PARAMETER" in value else value
            for key, value in expectation["kwargs"].items()
        }
        return {"type": expectation["type"], "kwargs": kwargs}

    def _add(self, position: int, result: Mapping[str, Any]) -> None:
        """Add one portion's result to what was found before."""
        expectation = self._expectations[position]
        config = {**self._resolved(expectation), "meta": dict(expectation.get("meta", {})), "severity": "critical"}
        details = result["result"]
        new = {"success": result["success"], "expectation_config": config, "result": details, "meta": {}}
        new["exception_info"] = {"raised_exception": False, "exception_traceback": None, "exception_message": None}
        old = self._found.setdefault(position, new)
        if "element_count" not in details:
            return
        before = old["result"] if old is not new else {}
        counts = {
            name: before.get(name, 0) + details.get(name, 0)
            for name in ("element_count", "unexpected_count", "missing_count")
        }
        new_examples = [self._shown(str(example)) for example in details["partial_unexpected_list"][:NUM_EXAMPLES]]
        examples = [*before.get("partial_unexpected_list", ()), *new_examples][:NUM_EXAMPLES]
        present = counts["element_count"] - counts["missing_count"]
        percent = 100 * counts["unexpected_count"] / present if present else 0.0
        old["success"] = old["success"] and result["success"]
        old["result"] = {
            **counts,
            "unexpected_percent": percent,
            "missing_percent": 100 * counts["missing_count"] / max(counts["element_count"], 1),
            "unexpected_percent_total": 100 * counts["unexpected_count"] / max(counts["element_count"], 1),
            "unexpected_percent_nonmissing": percent,
            "partial_unexpected_list": examples,
        }


def short_name(expectation: Mapping[str, Any]) -> str:
    """An expectation as a reason: `expect_column_values_to_match_regex` of `time` is `match-regex-time`."""
    words = [word for word in str(expectation["type"]).split("_") if word not in FILLER]
    return "-".join([*words, str(expectation["kwargs"].get("column", "columns"))])


def _parameters_of(expectation: Mapping[str, Any]) -> set[str]:
    values = expectation["kwargs"].values()
    return {value["$PARAMETER"] for value in values if isinstance(value, dict) and "$PARAMETER" in value}


def _exceptions(raised: Mapping[str, Any]) -> str:
    """The messages in what Great Expectations says of an exception: one, or one for each metric."""
    stated = [raised, *(one for one in raised.values() if isinstance(one, dict))]
    return "; ".join(sorted({str(one["exception_message"]) for one in stated if one.get("exception_message")}))
