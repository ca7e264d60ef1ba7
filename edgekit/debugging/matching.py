"""Finds for each node of the float graph the artifact's tensor that holds its value, by content.

The float graph is walked in order on a few samples. Each node is computed from the *artifact's own* values of the nodes
before it, as far as those are matched. So what was wrong before does not blur what comes after: behind a fault, values
agree again, and only the faulty layer itself is hard to recognise. A node and a tensor belong together where their
values correlate, in one of the layouts; the correlation does not mind a wrong scale or zero point.

Nodes whose value the artifact never holds (a convolution with a fused activation) find a tensor that a later node fits
better, and are left out. Where the walk ends up with poor agreement, the first tensor that nobody claimed is given to
the node that it resembles most, and the walk starts again: that pair is where the fault is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from edgekit.debugging.float_graph import FloatGraphRun, FloatNode, Values, as_array
from edgekit.debugging.inspector import ArtifactInspector
from edgekit.debugging.layouts import Layout, in_layout, possible_layouts
from edgekit.debugging.signatures import Signatures, correlation

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRONG: Final = 0.97
"""Correlation from which a pair belongs together without further evidence; 12 dB of noise leaves 0.97."""
_POOR: Final = 0.01
"""Noise, relative to the signal, from which a matched node asks for a fault before it: 20 dB."""
_BETTER: Final = 0.7
"""What a new pair must leave of the noise of the others, or it was no pair."""
_WEAK: Final = 0.3
_COPY: Final = 0.9999
_LOOKAHEAD: Final = 6
_MOST_FAULTS: Final = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A node of the float graph and the artifact's tensor that holds its value.

    Attributes:
        node: Name in the float graph.
        tensor: Name in the artifact.
        layout: How the tensor lies.
        agreement: Correlation of the artifact's values with the float layer's on the artifact's own inputs.
        noise: Power of their difference, relative to the float layer's.
    """

    node: str
    tensor: str
    layout: Layout
    agreement: float
    noise: float


@final
@dataclass(slots=True, kw_only=True)
class _Walk:
    """What one walk found."""

    matches: dict[str, Match] = field(default_factory=dict[str, Match])
    taken: set[str] = field(default_factory=set[str])
    candidates: dict[str, list[Match]] = field(default_factory=dict[str, list[Match]])


@final
class Matcher:
    """Matches one artifact.

    Args:
        graph: The float model.
        inside: The artifact.
        rows: Inputs of a few samples.
        values: The artifact's values on these samples.
    """

    def __init__(
        self,
        graph: FloatGraphRun,
        inside: ArtifactInspector,
        rows: Sequence[Sequence[NDArray[Any]]],
        values: Sequence[Mapping[str, NDArray[np.float32]]],
    ) -> None:
        self._graph = graph
        self._rows = rows
        self._values = values
        self._signatures = Signatures(values)
        self._order = {tensor.name: i for i, tensor in enumerate(inside.tensors)}
        self._given: dict[str, str] = {}
        for names, tensors in ((graph.inputs, inside.inputs), (graph.outputs, inside.outputs)):
            for node, tensor in zip(names, tensors, strict=False):
                if tensor in self._signatures.shapes and graph.by_name[node].comparable:
                    self._given[node] = tensor

    def match(self) -> dict[str, Match]:
        """Returns the matches by node name, in the order of the float graph."""
        forced = dict(self._given)
        refused: set[tuple[str, str]] = set()
        walk = self._walk(forced)
        for _ in range(_MOST_FAULTS):
            found = self._suspect(walk, refused)
            if found is None:
                break
            again = self._walk({**forced, found.node: found.tensor})
            if _noise_left(walk, again) < _BETTER:
                forced[found.node] = found.tensor
                walk = again
            else:
                refused.add((found.node, found.tensor))
        return walk.matches

    def _walk(self, forced: Mapping[str, str]) -> _Walk:
        walk = _Walk(taken=set(forced.values()))
        states = [self._graph.start(row) for row in self._rows]
        for index, node in enumerate(self._graph.nodes):
            for state in states:
                state[node.name] = self._graph.evaluate(node.name, state)
            if not node.comparable:
                continue
            found = self._candidates(node, states, forced.get(node.name), walk.taken)
            best = max(found, key=lambda item: item.agreement, default=None)
            if best is not None and node.name not in forced:
                walk.candidates[node.name] = found
                if best.agreement < STRONG or self._fits_later(index, best, states):
                    continue
            if best is not None:
                walk.matches[node.name] = best
                walk.taken.add(best.tensor)
                walk.candidates.pop(node.name, None)
                self._inject(node, best, states)
        return walk

    def _candidates(self, node: FloatNode, states: Sequence[Values], given: str | None, taken: set[str]) -> list[Match]:
        """Returns what the node may be in the artifact: the given tensor alone, or all that nobody took."""
        exact = self._exact(node, states)
        found: list[Match] = []
        for tensor, layout, agreement in self._signatures.agreements(node.shape, exact):
            if tensor == given or (given is None and tensor not in taken):
                noise = math.inf  # only a pair that may become a match needs its noise
                if given is not None or agreement >= STRONG:
                    own = self._signatures.own(node.shape, tensor, layout)
                    noise = float(((own - exact) ** 2).sum() / max(float((exact**2).sum()), 1e-30))
                found.append(Match(node=node.name, tensor=tensor, layout=layout, agreement=agreement, noise=noise))
        return found

    def _exact(self, node: FloatNode, states: Sequence[Values]) -> NDArray[np.float64]:
        return self._signatures.exact(node.shape, [as_array(state[node.name]) for state in states])

    def _fits_later(self, index: int, best: Match, states: Sequence[Values]) -> bool:
        """Returns True if a node shortly after, that is computed from this one, fits the tensor better."""
        start = self._graph.nodes[index]
        ahead = [dict(state) for state in states]
        reached = {start.name}
        size = math.prod(start.shape)
        for node in self._graph.nodes[index + 1 : index + 1 + _LOOKAHEAD]:
            if not reached & set(node.sources) or any(source not in ahead[0] for source in node.sources):
                continue
            if not node.comparable or math.prod(node.shape) != size:
                continue
            for state in ahead:
                state[node.name] = self._graph.evaluate(node.name, state)
            reached.add(node.name)
            for layout in possible_layouts(node.shape, self._signatures.shapes[best.tensor]):
                own = self._signatures.own(node.shape, best.tensor, layout)
                if correlation(self._exact(node, ahead), own) > best.agreement + 1e-9:
                    return True
        return False

    def _inject(self, node: FloatNode, match: Match, states: Sequence[Values]) -> None:
        import torch

        for state, values in zip(states, self._values, strict=True):
            own = in_layout(values[match.tensor], node.shape, match.layout)
            state[node.name] = torch.from_numpy(np.array(own))

    def _suspect(self, walk: _Walk, refused: set[tuple[str, str]]) -> Match | None:
        """Returns the pair that a fault kept apart: the first tensor nobody claimed, on a way that agrees poorly."""
        nodes = self._poor_nodes(walk)
        pairs = [
            match
            for name in nodes
            for match in walk.candidates.get(name, [])
            if match.tensor not in walk.taken and (match.node, match.tensor) not in refused
        ]
        by_tensor: dict[str, list[Match]] = {}
        for match in pairs:
            by_tensor.setdefault(match.tensor, []).append(match)
        in_order = sorted(by_tensor, key=lambda name: self._order[name])
        # What resembles a node comes first; where nothing does, the first tensor belongs to the first node.
        for least in (_WEAK, -1.0):
            for tensor in in_order:
                here = [item for item in by_tensor[tensor] if item.agreement >= least and self._in_order(item, walk)]
                if here and not self._is_copy(tensor, walk):
                    return max(here, key=lambda item: item.agreement) if least > 0 else self._end_of_chain(here, nodes)
        return None

    def _is_copy(self, tensor: str, walk: _Walk) -> bool:
        """Returns True for a tensor with the content of a matched one: transposed, or on another grid."""
        size = math.prod(self._signatures.shapes[tensor])
        for match in walk.matches.values():
            shape = self._graph.by_name[match.node].shape
            if math.prod(shape) == size:
                other = self._signatures.own(shape, match.tensor, match.layout)
                for layout in possible_layouts(shape, self._signatures.shapes[tensor]):
                    if correlation(other, self._signatures.own(shape, tensor, layout)) > _COPY:
                        return True
        return False

    def _poor_nodes(self, walk: _Walk) -> list[str]:
        """Returns the unmatched nodes from which some way leads to a match of poor agreement, in order."""
        poor: set[str] = set()
        for node in reversed(self._graph.nodes):
            for user in self._graph.users[node.name]:
                match = walk.matches.get(user)
                if (match is not None and not match.noise < _POOR) or (match is None and user in poor):
                    poor.add(node.name)
        return [node.name for node in self._graph.nodes if node.name in poor and node.name not in walk.matches]

    def _in_order(self, match: Match, walk: _Walk) -> bool:
        """Returns True if the artifact computes the tensor after those of the nodes that this node reads."""
        names = [match.node]
        seen: set[str] = set()
        while names:
            for source in self._graph.by_name[names.pop()].sources:
                if source in walk.matches:
                    if self._order[walk.matches[source].tensor] > self._order[match.tensor]:
                        return False
                elif source not in seen:
                    seen.add(source)
                    names.append(source)
        return True

    def _end_of_chain(self, pairs: Sequence[Match], nodes: Sequence[str]) -> Match:
        """Returns the pair of the last node that is fused with the first one."""
        name = pairs[0].node
        size = math.prod(self._graph.by_name[name].shape)
        while True:
            users = self._graph.users[name]
            after = self._graph.by_name[users[0]] if len(users) == 1 else None
            if after is None or after.name not in nodes or after.weight or math.prod(after.shape) != size:
                return next((match for match in pairs if match.node == name), pairs[0])
            name = after.name


def _noise_left(before: _Walk, after: _Walk) -> float:
    """Returns the noise of the nodes that both walks matched after, relative to that before."""
    both = before.matches.keys() & after.matches.keys()
    old, new = (sum(min(walk.matches[name].noise, 1.0) for name in both) for walk in (before, after))
    return new / max(old, 1e-30)
