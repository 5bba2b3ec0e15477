"""The records of an attempt, over all its tasks: which is the newest of its key, and who says something first."""

from collections.abc import Mapping, Sequence

import numpy as np

FREE, HELD, SUPERSEDED = 0, 1, 2  # what split says of a record: `rows/<task>.npy`, int8, one for each record


def newest(keys: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which records are the last of their key: tasks in the mapping's order, then records in theirs.

    `keys` holds for each task the fingerprints of its keys, uint64 [N, 2]; the answer bool [N]. A key names one
    document of the workspace, whichever task it arrives in.
    """
    return _split(keys, _last(np.concatenate([*keys.values(), np.empty((0, 2), dtype=np.uint64)])))


def first_to_say(contents: Mapping[str, np.ndarray], counted: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For every record the place (over all tasks) of the first counted record with the same content, int64 [N].

    `contents` holds fingerprints of texts, uint64 [N, 2]; `counted` bool [N]. A record that is not counted has its own
    place.
    """
    together = np.concatenate([*contents.values(), np.empty((0, 2), dtype=np.uint64)])
    places = np.arange(len(together))
    chosen = places[np.concatenate([*counted.values(), np.empty(0, dtype=bool)])]
    chosen = chosen[_repeated(together[chosen, 0])]
    if len(chosen):
        order = np.lexsort((chosen, together[chosen, 1], together[chosen, 0]))
        begins = np.append(True, _changes(together[chosen[order]]))
        places[chosen[order]] = chosen[order][begins][np.cumsum(begins) - 1]
    return _split(contents, places)


def _last(fingerprints: np.ndarray) -> np.ndarray:
    """Which rows are the last of their value."""
    found = np.ones(len(fingerprints), dtype=bool)
    rows = _repeated(fingerprints[:, 0])
    if len(rows):
        order = rows[np.lexsort((rows, fingerprints[rows, 1], fingerprints[rows, 0]))]
        found[order] = np.append(_changes(fingerprints[order]), True)
    return found


def _repeated(values: np.ndarray) -> np.ndarray:
    """The rows whose value another row has as well, in order; mostly few, so that only they need sorting by more."""
    order = np.argsort(values)
    same = values[order[1:]] == values[order[:-1]]
    return np.sort(order[np.append(same, False) | np.append(False, same)]) if len(values) else order


def _changes(ordered: np.ndarray) -> np.ndarray:
    """Between which neighbours the value changes, bool [N - 1]."""
    changed: np.ndarray = (ordered[1:] != ordered[:-1]).any(axis=1)
    return changed


def _split(parts: Mapping[str, Sequence[object] | np.ndarray], whole: np.ndarray) -> dict[str, np.ndarray]:
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    return dict(zip(parts, np.split(whole, ends), strict=True)) if parts else {}
