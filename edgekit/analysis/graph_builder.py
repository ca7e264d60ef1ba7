"""Collects what a reader finds in a file into an `Analysis`: names resolved, weights tied, fusion, memory, family."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.family import family_by_work
from edgekit.analysis.fusion import fuse
from edgekit.analysis.graph import Analysis, KernelClass, Operator, Tensor, Weight, WeightRole
from edgekit.analysis.liveness import memory
from edgekit.analysis.weight_values import content_key, deflated_ratios

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROLE_RANK: Final[Mapping[WeightRole, int]] = {
    "kernel": 0, "recurrent": 1, "table": 2, "norm": 3, "bias": 4, "constant": 5,
}  # fmt: skip
"""A weight with two uses (a table that is also the last layer's matrix) has the role that comes first here."""


@final
@dataclass(slots=True)
class _Stored:
    values: Callable[[], NDArray[Any]]
    shape: tuple[int, ...]
    dtype: str
    role: WeightRole = "constant"
    channels: int | None = None
    uses: int = 0
    slices: dict[str, int] = field(default_factory=dict[str, int])
    whole: bool = False

    @property
    def read_share(self) -> float:
        """Share of the elements that operators read."""
        full = math.prod(self.shape)
        return 1.0 if self.whole or not full else min(1.0, sum(self.slices.values()) / full)


@final
@dataclass(slots=True)
class GraphBuilder:
    """Gathers tensors, weights and operators in execution order.

    A reader declares stored tensors with `store`, names that mean the same activation with `alias`, and operators with
    `add`; `finish` returns the analysis.
    """

    _stored: dict[str, _Stored] = field(default_factory=dict[str, _Stored])
    _aliases: dict[str, str] = field(default_factory=dict[str, str])
    _derived: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    _slices: set[str] = field(default_factory=set[str])
    _tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    _operators: list[Operator] = field(default_factory=list[Operator])
    _notes: list[str] = field(default_factory=list[str])

    def store(self, name: str, shape: Iterable[int], dtype: str, values: Callable[[], NDArray[Any]]) -> None:
        """Declares a stored tensor; `values` is called only if an operator uses it."""
        self._stored[name] = _Stored(values=values, shape=tuple(shape), dtype=dtype)

    def derive(
        self, name: str, shape: Iterable[int], dtype: str, origins: Iterable[str], *, is_slice: bool = False
    ) -> None:
        """Declares what is computed once from stored tensors alone: its origins are what is stored.

        Args:
            name: Name of the result.
            shape: Shape of the result.
            dtype: Dtype of the result.
            origins: What it is computed from.
            is_slice: It is some of the elements of its one origin.
        """
        import numpy as np

        sizes = tuple(int(size) for size in shape)
        origins = tuple(origins)
        if is_slice and all(item not in self._derived or item in self._slices for item in map(self.resolve, origins)):
            self._slices.add(name)
        found = dict.fromkeys(item for origin in origins for item in self._origins(origin))
        self._derived[name] = tuple(found)
        # Without an origin (zeros, ones, a range) it is itself stored, and deflates to next to nothing.
        self.store(name, sizes, dtype, lambda: np.zeros(sizes, dtype))

    def _origins(self, name: str) -> tuple[str, ...]:
        name = self.resolve(name)
        return self._derived.get(name) or (name,)

    def is_stored(self, name: str) -> bool:
        """Returns True if `name` (or what it is an alias of) is a stored tensor."""
        return self.resolve(name) in self._stored

    def alias(self, name: str, of: str) -> None:
        """Declares that `name` is the same bytes as `of`: a view, or an operator that does nothing at inference."""
        self._aliases[name] = of

    def resolve(self, name: str) -> str:
        """Returns the name behind all aliases."""
        while name in self._aliases:
            name = self._aliases[name]
        return name

    def tensor(self, name: str, shape: Iterable[int], dtype: str) -> str:
        """Declares an activation and returns its name."""
        self._tensors[name] = Tensor(name=name, shape=tuple(int(size) for size in shape), dtype=dtype)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape that a tensor was declared with under that name, else that of what it aliases."""
        if name in self._tensors:
            return self._tensors[name].shape
        name = self.resolve(name)
        return self._stored[name].shape if name in self._stored else self._tensors[name].shape

    def dtype(self, name: str) -> str:
        """Returns NumPy's name of a tensor's type, "" where it was not declared."""
        name = self.resolve(name)
        found = self._stored.get(name) or self._tensors.get(name)
        return found.dtype if found is not None else ""

    def knows(self, name: str) -> bool:
        """Returns True if `name` was declared."""
        name = self.resolve(name)
        return name in self._stored or name in self._tensors

    def note(self, sentence: str) -> None:
        """Records once what could not be costed."""
        if sentence not in self._notes:
            self._notes.append(sentence)

    def add(
        self,
        *,
        name: str,
        type: str,  # noqa: A002  the field's name
        kernel: KernelClass,
        reads: Iterable[str],
        outputs: Iterable[str],
        module: str = "",
        macs: int = 0,
        roles: Mapping[str, tuple[WeightRole, int | None]] | None = None,
        in_place: bool | None = None,
        attributes: Mapping[str, int] | None = None,
    ) -> None:
        """Adds an operator.

        Args:
            name: Unique.
            type: In the source's words.
            kernel: How it spends its time.
            reads: Names of activations and stored tensors, in the source's order; unknown names are left out.
            outputs: Names of activations that were declared with `tensor`.
            module: Where it came from.
            macs: Multiply-accumulates.
            roles: Role and number of output channels of stored tensors, by the name under which it reads them.
            in_place: May write over its first input; by default element-wise operators may.
            attributes: See `Operator.attributes`.
        """
        known = [self.resolve(item) for item in reads if self.knows(item)]
        stored = [item for item in known if item in self._stored]
        weights = tuple(dict.fromkeys(origin for item in stored for origin in self._origins(item)))
        given = {
            origin: role for item, role in (roles or {}).items() if self.knows(item) for origin in self._origins(item)
        }
        for item in weights:
            self._use(item, *given.get(item, ("constant", None)))
        for item in stored:
            self._read(item)
        self._operators.append(
            Operator(
                name=name,
                type=type,
                kernel=kernel,
                module=module or name,
                inputs=tuple(dict.fromkeys(item for item in known if item not in self._stored)),
                outputs=tuple(outputs),
                weights=weights,
                macs=macs,
                in_place=kernel == "elementwise" if in_place is None else in_place,
                attributes=dict(attributes or {}),
            )
        )

    def _use(self, name: str, role: WeightRole, channels: int | None) -> None:
        stored = self._stored[name]
        stored.uses += 1
        if _ROLE_RANK[role] < _ROLE_RANK[stored.role] or stored.channels is None:
            stored.role = min(role, stored.role, key=_ROLE_RANK.__getitem__)
            stored.channels = channels

    def _read(self, name: str) -> None:
        """Notes how much of its origins an operator reads through the stored tensor `name`."""
        for origin in self._origins(name):
            if name in self._slices:
                self._stored[origin].slices[name] = math.prod(self._stored[name].shape)
            else:
                self._stored[origin].whole = True

    def finish(self, inputs: Iterable[str], outputs: Iterable[str]) -> Analysis:
        """Returns the analysis of everything gathered."""
        weights, names = self._weights()
        renamed = (replace(o, weights=tuple(dict.fromkeys(names[w] for w in o.weights))) for o in self._operators)
        ends = tuple(dict.fromkeys(self.resolve(name) for name in outputs if self.knows(name)))
        ends = tuple(name for name in ends if name in self._tensors)
        operators = fuse(tuple(renamed), keep=ends)
        starts = tuple(name for name in inputs if name in self._tensors)
        used = {*starts, *ends, *(name for o in operators for name in (*o.inputs, *o.outputs))}
        # The bounds of a clamp and the sizes of a pad that joined another operator are arguments of its kernel now.
        read = {name for operator in operators for name in operator.weights}
        family, evidence = family_by_work(operators)
        return Analysis(
            operators=operators,
            tensors={name: tensor for name, tensor in self._tensors.items() if name in used},
            weights={name: weight for name, weight in weights.items() if name in read},
            inputs=starts,
            outputs=ends,
            memory=memory(operators, starts, ends, lambda name: self._tensors[name].size_bytes),
            family=family,
            family_evidence=evidence,
            notes=tuple(self._notes),
        )

    def _weights(self) -> tuple[dict[str, Weight], dict[str, str]]:
        """Returns the used weights, tied ones once, and under which of these names each stored tensor is found."""
        weights: dict[str, Weight] = {}
        names: dict[str, str] = {}
        first: dict[str, str] = {}
        for name, stored in self._stored.items():
            if not stored.uses:
                continue
            values = stored.values()
            key = content_key(values)
            # Vectors of ones or zeros are equal by chance and not tied; every format stores them one by one.
            twin = first.setdefault(key, name) if values.ndim > 1 else name
            names[name] = twin
            if twin != name:
                best = min(weights[twin].role, stored.role, key=_ROLE_RANK.__getitem__)
                weights[twin] = replace(
                    weights[twin], role=best, shared_by=weights[twin].shared_by + stored.uses,
                    read_share=max(weights[twin].read_share, stored.read_share),
                )  # fmt: skip
                continue
            channels = stored.channels or (stored.shape[0] if stored.role == "table" and stored.shape else values.size)
            weights[name] = Weight(
                name=name,
                shape=stored.shape,
                dtype=stored.dtype,
                role=stored.role,
                channels=channels,
                deflated=deflated_ratios(values),
                shared_by=stored.uses,
                read_share=stored.read_share,
            )
        return weights, names
