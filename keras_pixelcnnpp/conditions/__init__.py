"""What a model is conditioned on: nothing, a class label, a vector, a map, or several."""

from collections.abc import Sequence
from typing import Any

from keras_pixelcnnpp.conditions.base import (
    ANY_CLASS,
    PLACES,
    ConditionEncoder,
    Conditions,
    Group,
    conditions_from_config,
)
from keras_pixelcnnpp.conditions.joint import Joint
from keras_pixelcnnpp.conditions.labels import Labels, label_targets
from keras_pixelcnnpp.conditions.maps import Maps
from keras_pixelcnnpp.conditions.numbers import Numbers
from keras_pixelcnnpp.conditions.unconditional import Unconditional
from keras_pixelcnnpp.conditions.vectors import Vectors
from keras_pixelcnnpp.utils.checks import checked_class_names, require_integer
from keras_pixelcnnpp.utils.errors import invalid_argument

__all__ = [
    "ANY_CLASS",
    "PLACES",
    "ConditionEncoder",
    "Conditions",
    "Group",
    "Joint",
    "Labels",
    "Maps",
    "Numbers",
    "Unconditional",
    "Vectors",
    "as_conditions",
    "conditions_of",
    "label_targets",
]


def conditions_of(
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    conditions: "Conditions | Sequence[Conditions] | dict[str, Any] | None" = None,
) -> Conditions:
    """Returns the conditions that these arguments of a model describe.

    `num_classes` is the shorthand for `Labels`, or with 0 for no condition. `conditions` are one
    part, such as `Labels(10)`, or a list of parts of different kinds. In a saved configuration, a
    part is a dict with its `kind` and the arguments of its class.

    Raises:
        ValueError: If the arguments are out of range, or describe no or two conditions.

    Example:

    >>> conditions_of(num_classes=3).class_names
    ('Class0', 'Class1', 'Class2')
    >>> conditions_of(conditions=[Labels(3), Vectors(1)]).description
    '3 classes and vectors (h0)'
    """
    if conditions is None:
        if num_classes is None:
            expected = "the number of classes, or 0 for an unconditional model; or `conditions`"
            raise invalid_argument("num_classes", num_classes, expected)
        require_integer("num_classes", num_classes, low=0, high=100_000)
        if num_classes:
            return Labels(num_classes, class_names)
        checked_class_names(class_names, 0)
        return Unconditional()
    given = {"num_classes": num_classes, "class_names": class_names}
    if wrong := [name for name, value in given.items() if value is not None]:
        raise invalid_argument(wrong[0], given[wrong[0]], "None, because `conditions` are given")
    if isinstance(conditions, dict):
        return conditions_from_config(conditions)
    if isinstance(conditions, list | tuple):
        parts = [conditions_of(conditions=part) for part in conditions]
        if not parts:
            return Unconditional()
        return parts[0] if len(parts) == 1 else Joint(*parts)
    if not isinstance(conditions, Conditions):
        expected = "a part such as Labels(10), or a list of parts"
        raise invalid_argument("conditions", conditions, expected)
    return conditions


def as_conditions(conditions: Conditions | Sequence[Conditions] | int) -> Conditions:
    """Returns `conditions`; an integer, a number of classes, stands for `Labels`."""
    if isinstance(conditions, Conditions | Sequence):
        return conditions_of(conditions=conditions)
    require_integer("num_classes", conditions)
    return Labels(conditions)
