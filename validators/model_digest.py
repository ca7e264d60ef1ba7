"""Whether the artifact says that it was made from the model which was given."""

from __future__ import annotations

from typing import ClassVar, Final, final

from edgekit.budget import Budget
from edgekit.checks import Check, judge
from edgekit.validators.base import Evidence, Validator
from edgekit.validators.floors import sound_limit

DIGEST_KEY: Final = "edgekit.digest"
SOURCE_KEY: Final = "edgekit.source"


@final
class ModelDigestValidator(Validator):
    """Compares the digest in the artifact's metadata with the given model's. A file made elsewhere carries none."""

    costs: ClassVar[tuple[str, ...]] = ("model_digest",)

    def judge(self, evidence: Evidence, budget: Budget) -> tuple[Check, ...]:
        """Returns the check `model_digest`."""
        runtime, given = evidence.artifact.runtime, evidence.model
        metadata = {**evidence.artifact.metadata, **evidence.embedded}
        carried = metadata.get(DIGEST_KEY)
        if given is None or carried is None:
            detail = "No float model was given." if given is None else "The file does not say what it was made from."
            return (judge("model_digest", None, None, detail=detail, runtime=runtime),)
        same = carried in given.digests
        if same:
            detail = f"The artifact was made from {given.name}, digest {carried[:12]}: the model that was given."
        else:
            detail = (
                f"The artifact was made from {metadata.get(SOURCE_KEY, 'a model')} with digest {carried[:12]}; the "
                f"model given is {given.name} with digest {given.digests[0][:12]}. Give the one that it was made from."
            )
        if waiver := budget.waiver("model_digest"):
            detail += f" Waived by {waiver}."
        limit = budget.get_or(sound_limit("model_digest", ()))
        return (judge("model_digest", int(not same), limit, measured_on="file", detail=detail, runtime=runtime),)
