"""How far a training has come."""

from typing import NamedTuple


class Progress(NamedTuple):
    """Finished epochs, and finished steps of the epoch after them. Ordered by time.

    Example:

    ```python
    Progress(epoch=3, step=12) < Progress(epoch=4)     # True
    ```
    """

    epoch: int = 0
    step: int = 0

    def __str__(self) -> str:
        epochs = f"{self.epoch} epoch{'' if self.epoch == 1 else 's'}"
        steps = f"{self.step} step{'' if self.step == 1 else 's'}"
        return f"{epochs} and {steps}" if self.step else epochs
