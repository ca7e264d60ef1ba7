"""What every validator promises: the checks that it declares, and no verdict on what was not measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import pytest

from edgekit import registry
from edgekit.budget import COSTS, Budget, Limit, cost_of
from edgekit.plugins import load
from edgekit.recipe import Recipe
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.requested import requested_settings

PIECES = ("outputs", "reference", "memory", "latency", "operators")
"""What can be missing (see `Evidence.missing`)."""

EVERY_LIMIT = Budget(
    limits=tuple(Limit(name=name, value=0.0 if cost.at_most else 1e9, source="test") for name, cost in COSTS.items())
)
"""Limits that nothing keeps."""

REQUESTED = requested_settings(Recipe(default="int8_static"))
"""What was requested of the artifact."""


class ValidatorContract(ABC):
    """Inherit it as `class TestName(ValidatorContract)` and implement `evidence`.

    Class attributes:
        name: The validator, as its entry point calls it.
        needs_no_run: It judges the file alone, and so always has its evidence.
        has_user_limits: Users set the limits of its checks; False where it guards soundness by limits of its own.
    """

    name: ClassVar[str]
    needs_no_run: ClassVar[bool] = False
    has_user_limits: ClassVar[bool] = True

    @abstractmethod
    def evidence(self, folder: Path) -> Evidence:
        """Returns evidence with every piece that the validator looks at; what needs a file is written to `folder`."""

    def validator(self) -> Validator:
        """Returns the validator."""
        made: Validator = load(registry.validator_targets()[self.name])()
        return made

    def bare(self, folder: Path, **missing: str) -> Evidence:
        """Returns evidence of an artifact that nobody has run."""
        return Evidence(
            artifact=self.evidence(folder).artifact, missing=missing, requested=REQUESTED, accelerator="nnapi"
        )

    def test_it_declares_costs_that_reports_know(self) -> None:
        assert self.validator().costs
        for name in self.validator().costs:
            assert cost_of(name).title

    def test_it_returns_the_checks_that_it_declares(self, tmp_path: Path) -> None:
        evidence = self.evidence(tmp_path)
        checks = self.validator().run(evidence, Budget())
        assert tuple(check.name for check in checks) == self.validator().costs
        assert all(check.unit == cost_of(check.name).unit for check in checks)
        assert all(check.runtime == evidence.artifact.runtime for check in checks)

    def test_it_says_the_same_twice(self, tmp_path: Path) -> None:
        evidence = self.evidence(tmp_path)
        assert self.validator().run(evidence, Budget()) == self.validator().run(evidence, Budget())

    def test_a_limit_that_is_missed_fails(self, tmp_path: Path) -> None:
        if not self.has_user_limits:
            pytest.skip("it has limits of its own")
        checks = self.validator().run(self.evidence(tmp_path), EVERY_LIMIT)
        assert all(check.verdict in ("fail", "inconclusive") for check in checks)

    def test_what_was_not_measured_is_not_run_with_its_reason_and_fails_the_gate(self, tmp_path: Path) -> None:
        if self.needs_no_run:
            pytest.skip("it judges the file alone")
        evidence = self.bare(tmp_path, **{piece: f"No {piece}: test." for piece in PIECES})
        for check in self.validator().run(evidence, EVERY_LIMIT):
            assert (check.verdict, check.value) == ("not_run", None)
            assert check.detail.endswith(": test.")
            assert check.fails_gate

    def test_a_missing_piece_without_a_reason_is_not_run_too(self, tmp_path: Path) -> None:
        if self.needs_no_run:
            pytest.skip("it judges the file alone")
        for check in self.validator().run(self.bare(tmp_path), EVERY_LIMIT):
            assert (check.verdict, check.detail) == ("not_run", "It was not measured.")
