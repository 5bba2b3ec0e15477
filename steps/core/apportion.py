"""Whole tokens by weight: the sum exact, nobody beyond what it holds."""

from collections.abc import Mapping
from fractions import Fraction


def apportion(total: int, weights: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Spread a total by weight; what one cannot hold flows to the others; the largest remainders take what is left.

    `room`: the most that each may get; one that it does not name may get all.
    """
    full: dict[str, int] = {}
    while True:
        rest = total - sum(full.values())
        open_weights = {source: Fraction(weight) for source, weight in weights.items() if source not in full}
        whole = sum(open_weights.values())
        shares = {source: rest * weight / whole for source, weight in open_weights.items()}
        over = {source: room[source] for source, share in shares.items() if share > room.get(source, total)}
        if not over:
            break
        full |= over
    found = full | {source: int(share) for source, share in shares.items()}
    missing = total - sum(found.values())
    first = sorted(shares, key=lambda source: (int(shares[source]) - shares[source], source))
    for source in [source for source in first if found[source] < room.get(source, total)][:missing]:
        found[source] += 1
    assert sum(found.values()) == total, f"{found} do not add up to {total:,}"
    return {source: found[source] for source in weights}
