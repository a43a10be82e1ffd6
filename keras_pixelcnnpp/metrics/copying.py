"""Does a model repeat pictures that it was trained on?"""

import numpy as np


def memorisation(generated: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """Compares distances to the nearest training picture: generated against real, unseen pictures.

    A model that copies draws pictures closer to the training pictures than unseen real pictures
    are. One that draws blurred or simple pictures may do so too: look at them beside their
    neighbours.

    Args:
        generated: float `[num_generated]`, the distance of each generated picture to the nearest
            training picture.
        held_out: float `[num_held_out]`, the same for real pictures that weren't trained on.

    Returns:
        A dictionary ready for JSON: `median_distance` and `held_out_median_distance`,
        `share_closer_than_median` and `share_closer_than_5_percent`, the shares of generated
        pictures closer than half, and than all but 5 %, of the held-out ones (0.5 and 0.05 are
        expected without memorisation), and `identical`, the share at distance 0.

    Raises:
        ValueError: If there are no distances.

    Example:

    >>> memorisation([0, 3], [1, 2, 3])["share_closer_than_median"]
    0.5
    """
    generated, held_out = np.asarray(generated, float), np.asarray(held_out, float)
    if generated.size == 0 or held_out.size == 0:
        raise ValueError(
            "Expected distances of generated and of held-out pictures. "
            f"Received: {generated.size} and {held_out.size}"
        )
    low, median = np.quantile(held_out, [0.05, 0.5])
    return {
        "median_distance": float(np.median(generated)),
        "held_out_median_distance": float(median),
        "share_closer_than_median": float(np.mean(generated < median)),
        "share_closer_than_5_percent": float(np.mean(generated < low)),
        "identical": float(np.mean(generated == 0)),
    }
