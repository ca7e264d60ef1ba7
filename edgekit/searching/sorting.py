"""Order among candidates with several costs: fronts, and crowding within a front.

Deb, Pratap, Agarwal, Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE Transactions on
Evolutionary Computation 6(2), 2002: fast nondominated sorting (section III.A), crowding distance and the
crowded-comparison operator (section III.B).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = Sequence[float]
"""Costs of one candidate, less is better in each; all points of a call have as many."""


def dominates(one: Point, other: Point) -> bool:
    """Returns True if `one` is nowhere worse than `other` and somewhere better."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def fronts(points: Sequence[Point]) -> tuple[tuple[int, ...], ...]:
    """Returns the indices of the points by front, the nondominated ones first (section III.A).

    Each point counts those that dominate it; who is dominated by nobody is the first front, and taking a front away
    lowers the counts of those that it dominates.
    """
    dominated = [[j for j in range(len(points)) if dominates(point, points[j])] for point in points]
    counts = [0] * len(points)
    for others in dominated:
        for j in others:
            counts[j] += 1
    made: list[tuple[int, ...]] = []
    front = [i for i, count in enumerate(counts) if count == 0]
    while front:
        made.append(tuple(front))
        following: list[int] = []
        for i in front:
            for j in dominated[i]:
                counts[j] -= 1
                if counts[j] == 0:
                    following.append(j)
        front = sorted(following)
    return tuple(made)


def crowding_distances(points: Sequence[Point]) -> tuple[float, ...]:
    """Returns for each point of one front how far its neighbours are from each other (section III.B).

    The sum over costs of (next - previous) / (largest - smallest); infinite for the ends of a cost.
    """
    found = [0.0] * len(points)
    for axis in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda i: points[i][axis])
        low, high = points[order[0]][axis], points[order[-1]][axis]
        found[order[0]] = found[order[-1]] = math.inf
        if high > low:
            for before, i, after in zip(order, order[1:-1], order[2:], strict=False):
                found[i] += (points[after][axis] - points[before][axis]) / (high - low)
    return tuple(found)


def select(points: Sequence[Point], count: int) -> tuple[int, ...]:
    """Returns the indices of the best `count` points: earlier fronts first, then the less crowded (section III.B)."""
    chosen: list[int] = []
    for front in fronts(points):
        distances = crowding_distances([points[i] for i in front])
        by_distance = sorted(range(len(front)), key=lambda k: (-distances[k], front[k]))
        chosen += [front[k] for k in by_distance]
    return tuple(sorted(chosen[:count]))
