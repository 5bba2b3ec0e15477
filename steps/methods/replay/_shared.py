"""Lots and places: what several methods of this slot draw by."""

import hashlib
from collections.abc import Iterable, Mapping
from fractions import Fraction

from steps.methods.replay import Entry


def lot(seed: int, key: str) -> int:
    """A document's lot, uniform in 0..2^48-1: the same in every refresh, whatever else is there."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {key}".encode(), digest_size=6).digest())


def lowest(entries: Iterable[Entry], count: int, seed: int) -> list[Entry]:
    """The entries with the lowest lots, lowest first: a uniform sample of them."""
    return sorted(entries, key=lambda entry: (lot(seed, entry.key), entry.key))[:count]


def grouped(entries: Iterable[Entry], names: Mapping[str, str]) -> dict[str, list[Entry]]:
    """Entries by the group that `names` gives each key; groups in the order of their names."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(names[entry.key], []).append(entry)
    return dict(sorted(found.items()))


def apportioned(capacity: int, weights: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """Whole places by weight; what a group cannot fill flows to the others, by their weights.

    A remainder goes to the group that is furthest behind its share; among equals to the first in `weights`. Groups of
    weight 0 get only what all others cannot fill, in equal parts.
    """
    total = min(capacity, sum(sizes[group] for group in weights))
    full: dict[str, int] = {}
    while True:
        rest = total - sum(full.values())
        open_weights = {group: Fraction(weight) for group, weight in weights.items() if group not in full}
        if not any(open_weights.values()):
            open_weights = dict.fromkeys(open_weights, Fraction(1))
        whole = sum(open_weights.values())
        shares = {group: rest * weight / whole for group, weight in open_weights.items()}
        over = {group: sizes[group] for group, share in shares.items() if share > sizes[group]}
        if not over:
            break
        full |= over
    found = full | {group: int(share) for group, share in shares.items()}
    missing = total - sum(found.values())
    behind = sorted(shares, key=lambda group: found[group] - shares[group])
    for group in [group for group in behind if found[group] < sizes[group]][:missing]:
        found[group] += 1
    assert sum(found.values()) == total, f"{found} do not add up to {total:,}"
    return {group: found[group] for group in weights}


def in_order(entries: Iterable[Entry], chosen: Iterable[Entry]) -> tuple[Entry, ...]:
    """The chosen entries as they are, in the order of all."""
    by_key = {entry.key: entry for entry in chosen}
    return tuple(by_key[entry.key] for entry in entries if entry.key in by_key)
