"""What only a density over pictures can show, and what its network sees."""

from keras_pixelcnnpp.reporting.page import Missing, Section, Table
from keras_pixelcnnpp.reporting.run_files import RunFiles
from keras_pixelcnnpp.reporting.wording import decimal, find, option, other_data, whole


def evidence_section(files: RunFiles) -> Section | Missing:
    """Where in a picture the decision comes from."""
    alt = "Pictures beside the evidence in each of their pixels"
    picture = files.picture("evidence", alt, scrolls=True)
    if picture is None:
        return Missing(("Evidence maps",), files.command("evaluate", "evidence"))
    text = (
        "Each pixel's log p under the true class, minus that under the most probable other one, "
        "given the pixels before it. The sum over the picture is what the decision rests on."
        f"{other_data(files.json('evidence'))}"
    )
    return Section("Evidence maps", text, (picture,))


def foreign_section(files: RunFiles) -> Section | Missing:
    """Whether the model notices pictures that are none of its business."""
    report = files.json("foreign")
    alt = "Foreign inputs, and the AUROC of each detector on them"
    picture = files.picture("foreign", alt, scrolls=True)
    if not report and picture is None:
        return Missing(("Foreign inputs",), files.command("evaluate", "foreign"))
    inputs = report.get("inputs") or {}
    detectors = list(dict.fromkeys(d for i in inputs.values() for d in find(i, "auroc") or ()))
    rows = tuple(
        (name, *(decimal(find(of_input, "auroc", detector)) for detector in detectors))
        for name, of_input in inputs.items()
    )
    blocks = [picture] if picture else []
    if rows:
        headings = ("AUROC", *(detector.replace("_", " ") for detector in detectors))
        blocks.append(Table(headings, rows))
    meanings = report.get("detectors")
    if isinstance(meanings, dict):
        names = ((name.replace("_", " "), option(meaning)) for name, meaning in meanings.items())
        blocks.append(Table(("", ""), tuple(names), "Detectors: the larger, the more foreign"))
    text = (
        "How well each detector tells foreign inputs from pictures like those the model was "
        "trained on: 1 always, 0.5 not at all, below that it takes the foreign ones for the "
        "more familiar."
        f"{other_data(report)}"
    )
    return Section("Foreign inputs", text, tuple(blocks))


def receptive_field_section(files: RunFiles) -> Section | Missing:
    """Which pixels a pixel sees."""
    alt = "For some pixels, the influence of all others"
    picture = files.picture("receptive_field", alt, chart=True, scrolls=True)
    if picture is None:
        return Missing(("Receptive field",), files.command("evaluate", "receptive-field"))
    report = files.json("receptive_field")
    rows = tuple(
        (
            f"{option(target.get('row'))}, {option(target.get('column'))}",
            f"{whole(target.get('seen'))} of {whole(target.get('earlier'))}",
            whole(target.get("later_seen")),
            f"{whole(target.get('blind_spot_seen'))} of {whole(target.get('blind_spot'))}",
        )
        for target in report.get("targets") or ()
    )
    headings = ("row, column", "earlier pixels seen", "others seen", "seen above to the right")
    table = Table(headings, rows)
    network = "The trained network" if report.get("trained", True) else "An untrained network"
    text = (
        f"{network}: the size of the gradient of one pixel's distribution with respect to every "
        "other pixel. Nothing at or after the pixel is seen, by construction. Above, right of "
        "the dashed line, lies the blind spot of masked 3×3 convolutions, however many; two "
        "streams have none. An earlier pixel that is grey is too far away for a network of this "
        "depth."
    )
    return Section("Receptive field", text, (picture, table) if rows else (picture,))
