"""What a model is conditioned on: nothing, a class label, a vector, a map, or several of them.

`part.py` says what a part is, and a file for each kind has a part and its encoder. `conditions.py`
and `encoder.py` have all parts of a model. `classes.py` has what only a class allows.
"""

from keras_pixelcnnpp.conditions.classes import ANY_CLASS, LABEL, Group
from keras_pixelcnnpp.conditions.conditions import (
    Conditions,
    as_conditions,
    conditions_of,
)
from keras_pixelcnnpp.conditions.encoder import ConditionEncoder
from keras_pixelcnnpp.conditions.labels import Labels, label_targets, wrong_labels
from keras_pixelcnnpp.conditions.maps import Maps
from keras_pixelcnnpp.conditions.numbers import Numbers
from keras_pixelcnnpp.conditions.part import KINDS, PLACES, Part, PartEncoder
from keras_pixelcnnpp.conditions.values import Values
from keras_pixelcnnpp.conditions.vectors import Vectors

__all__ = [
    "ANY_CLASS",
    "KINDS",
    "LABEL",
    "PLACES",
    "ConditionEncoder",
    "Conditions",
    "Group",
    "Labels",
    "Maps",
    "Numbers",
    "Part",
    "PartEncoder",
    "Values",
    "Vectors",
    "as_conditions",
    "conditions_of",
    "label_targets",
    "wrong_labels",
]
