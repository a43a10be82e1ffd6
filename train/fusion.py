"""`pixelcnnpp train fusion`."""

from typing import Annotated

import typer

from keras_pixelcnnpp.train import options


def fusion(
    data: options.Data,
    run: options.Run,
    strategy: Annotated[
        list[str] | None,
        typer.Option(help="A strategy, or several joined by +; may be repeated. Default: each."),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="likelihood or hybrid; may be repeated. Default: both."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, seeds 0, 1, …")] = 1,
    split: Annotated[str, typer.Option(help="The pictures to measure on.")] = "validation",
    preset: options.Preset = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    label_loss_weight: Annotated[
        float | None, typer.Option(min=0, help="Of the hybrid objective.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=2, help="Candidate labels of the hybrid objective.")
    ] = None,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(min=0, help="First epochs of the hybrid objective: plain likelihood."),
    ] = None,
    ema_momentum: options.EmaMomentum = None,
    image_size: options.ImageSize = None,
    limit: options.Limit = None,
    precision: options.PrecisionOption = options.Precision.float32,
    overwrite: options.Overwrite = False,
) -> None:
    """Compare the ways of putting the label in: same data, same budget, same seeds.

    Writes reports/fusion.json and reports/fusion.png after every training. Call it again to go on
    after an interruption, or to add strategies and seeds: what is finished is kept.
    """
    from keras_pixelcnnpp.callbacks.stop_on_signal import TrainingStopped
    from keras_pixelcnnpp.conditioning.registry import STRATEGIES
    from keras_pixelcnnpp.run_folder import RunFolder
    from keras_pixelcnnpp.training.fusion import OBJECTIVES, plan, run_trials, summarize
    from keras_pixelcnnpp.training.pixelcnnpp import resolve_options

    overrides = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "label_loss_weight": label_loss_weight,
        "candidates": candidates,
        "warmup_epochs": warmup_epochs,
        "ema_momentum": ema_momentum,
        "limit": limit,
        "precision": precision.value,
    }
    trials = plan(strategy or STRATEGIES, objective or OBJECTIVES, seeds)
    preset_config = options.load_preset(preset, data)
    dataset, data_config = options.load(data, image_size, seed=0)
    _, training = resolve_options(preset_config, overrides, dataset.num_classes)
    larger = options.load_larger(data, dataset, training["crop_margin"], seed=0)
    folder = RunFolder(run)
    given = {
        "preset": preset,
        "strategy": strategy,
        "objective": objective,
        "seeds": seeds,
        "image_size": image_size,
        **overrides,
    }
    facts = {
        "data": data,
        "split": split,
        "options": {name: value for name, value in given.items() if value is not None},
    }
    results = []
    finished = run_trials(
        trials,
        dataset,
        run,
        preset_config,
        overrides,
        data_config,
        larger=larger,
        split=split,
        overwrite=overwrite,
        verbose=options.verbosity(),
    )
    try:
        for result in finished:
            results.append(result)
            rows = summarize(results)
            _write(folder, {**facts, "rows": rows, "trials": results})
    except TrainingStopped:
        print("\nStopped. The same command goes on from there.")
        raise typer.Exit(0) from None
    _print(rows)
    print(f"Wrote fusion.json and fusion.png to {folder.reports}")


def _write(folder, report: dict) -> None:
    from keras_pixelcnnpp.atomic import atomic_path, write_json
    from keras_pixelcnnpp.training.fusion_figure import fusion_png

    write_json(folder.reports / "fusion.json", report)
    with atomic_path(folder.reports / "fusion.png") as temporary:
        temporary.write_bytes(fusion_png(report["rows"]))


def _print(rows: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    table.add_column("strategy")
    table.add_column("objective")
    for heading in ("parameters", "bits/dim", "accuracy", "95 % interval (%)", "s/epoch"):
        table.add_column(heading, justify="right")
    for row in rows:
        low, high = row["accuracy_ci95"]
        seconds = row["seconds_per_epoch"]
        table.add_row(
            row["strategy"],
            row["objective"],
            f"{row['parameters']:,}",
            f"{row['bits_per_dim']:.4f}",
            f"{row['accuracy']:.2%}",
            f"{100 * low:.1f}–{100 * high:.1f}",
            "–" if seconds is None else f"{seconds:.1f}",
        )
    Console().print(table)
