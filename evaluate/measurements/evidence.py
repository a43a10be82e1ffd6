"""Declares `evaluate evidence`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_pixelcnnpp.commands.helpers import option
from keras_pixelcnnpp.evaluate.measurements import BatchOptions, Measurement

if TYPE_CHECKING:
    from keras_pixelcnnpp.evaluate.subject import Subject


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions(BatchOptions):
    """Options of `evaluate evidence`."""

    per_class: int = option("Number of images per class.", 4, min=1)


class Evidence(Measurement):
    """Show which pixels the model's classifications rest on.

    The evidence of a pixel is its log-likelihood, in nats, under the true class minus its
    log-likelihood under the most probable other class. Writes evidence.png and evidence.json.
    """

    name = "evidence"
    title = "Evidence maps"
    place = 4
    options = EvidenceOptions
    examples = ("--run runs/digits --per-class 2",)
    writes = ("evidence.png",)

    def reason_against(self, subject: "Subject") -> str | None:
        if subject.num_classes > 1:
            return None
        return f"Evidence compares two classes. Received: num_classes={subject.num_classes}"


MEASUREMENT = Evidence()
