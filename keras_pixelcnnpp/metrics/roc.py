"""How well a probability ranks the pictures of a class before all others."""

import numpy as np


def one_vs_rest_auc(labels: np.ndarray, probabilities: np.ndarray) -> list[float | None]:
    """The area under the ROC curve of each class against all the others.

    It is the chance that a picture of the class gets a higher probability for it than a picture of
    another class does; ties count half.

    Args:
        labels: int `[count]`, the true classes.
        probabilities: float `[count, num_classes]`.

    Returns:
        One area in [0, 1] for each class; `None` for a class that has no pictures here, or all.

    Reference:
        - Fawcett, *An introduction to ROC analysis*, 2006, section 9.2
    """
    from sklearn.metrics import roc_auc_score

    areas = []
    for index in range(probabilities.shape[1]):
        belongs = labels == index
        two_sided = belongs.any() and not belongs.all()
        areas.append(float(roc_auc_score(belongs, probabilities[:, index])) if two_sided else None)
    return areas
