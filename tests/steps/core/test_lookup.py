import numpy as np

from steps.core.lookup import Queries, build_tables, fingerprints


def queries(*rows: list[int]) -> Queries:
    return Queries.of(np.array(rows, dtype=np.uint64))


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    assert fingerprints(["a"]).tobytes().hex() == "27c35e6e9373877f29e562464e46497e"  # BLAKE2b-128


def test_no_strings_have_no_fingerprints() -> None:
    assert fingerprints([]).shape == (0, 2)


def test_half_a_letter_has_a_fingerprint_too() -> None:
    assert fingerprints(["\ud800"]).all()


def test_a_value_is_found_in_every_row_of_its_own_column_only() -> None:
    tables = build_tables(np.array([[5, 1], [7, 5], [5, 0]], dtype=np.uint64))
    query, row = tables.find(queries([9, 5]), first=0)
    assert sorted(zip(query.tolist(), row.tolist(), strict=True)) == [(1, 0), (1, 2)]
    query, row = tables.find(queries([5, 0]), first=1)
    assert (query.tolist(), row.tolist()) == ([0], [1])


def test_zero_is_no_value() -> None:
    tables = build_tables(np.zeros((3, 2), dtype=np.uint64))
    assert tables.find(queries([0, 0], [0, 0]), first=0)[0].tolist() == []


def test_the_columns_come_back() -> None:
    columns = np.random.default_rng(3).integers(0, 4, size=(50, 3), dtype=np.uint64)
    assert (build_tables(columns).columns(1, 50) == columns[:, 1:]).all()


def test_a_filter_lets_through_few_values_that_are_not_there_and_all_that_are() -> None:
    rng = np.random.default_rng(5)
    there, others = (rng.integers(1, 2**64, size=(20_000, 1), dtype=np.uint64) for _ in range(2))
    tables = build_tables(there)
    query, row = tables.find(Queries.of(there.T), first=0)
    assert query.tolist() == row.tolist() == list(range(20_000))
    assert len(tables.find(Queries.of(others.T), first=0)[0]) == 0
