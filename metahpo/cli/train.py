"""``metahpo train``: MetaModels from the MetaDatasets that were collected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metahpo.cli import options
from metahpo.cli.console import err, out

if TYPE_CHECKING:
    from rich.table import Table

    from metahpo.metadataset import MetaDataset

Folder = Annotated[
    Path,
    typer.Argument(
        help="A MetaDataset, as collect writes it.", metavar="FOLDER", show_default=False
    ),
]
Learners = Annotated[
    str, typer.Option("--learner", "-l", help="Learners of the MetaDataset, as svc,auto; or all.")
]


def command(
    folder: Folder, out_folder: options.Out, learner: Learners = "all", seed: options.Seed = 0
) -> None:
    """Train a [bold]meta-model[/] a learner, and one for the choice among all of them."""
    from metahpo.metadataset import MetaDataset
    from metahpo.metamodel import MetaModel

    dataset = MetaDataset.load(folder)
    cards: dict[str, dict[str, Any]] = {}
    for name, part in _parts(dataset, learner):
        path = out_folder / name
        with err.status(f"{name or 'the model'}: {part}"):
            model = MetaModel.fit(part, seed=seed)
            model.save(path)
        err.print(f"[green]✓[/] {path}")
        cards[name or path.name] = model.card
    out.print(_summary(cards))


def _parts(dataset: MetaDataset, wanted: str) -> list[tuple[str, MetaDataset]]:
    """Return what to train on, by the name of the model's folder in the folder to write."""
    choices, union = _learners(dataset)
    names = [*choices, union] if wanted == "all" else [n.strip() for n in wanted.split(",")]
    return [(name, dataset if name == union else dataset.for_learner(name)) for name in names]


def _learners(dataset: MetaDataset) -> tuple[tuple[str, ...], str]:
    """Return the learners of a union, and what the choice among them is called."""
    from optuna.distributions import CategoricalDistribution

    from metahpo.catalogue import ROOT, UnionLearner, learners

    root = dataset.space.distributions.get(ROOT)
    if not isinstance(root, CategoricalDistribution):
        return (), ""
    choices = tuple(map(str, root.choices))
    unions = [u for u in learners.values() if isinstance(u, UnionLearner)]
    return choices, next((u.name for u in unions if set(choices) & set(u.branches)), "auto")


def _summary(cards: dict[str, dict[str, Any]]) -> Table:
    """Show how far from the best the first suggestions are on tasks that were held out."""
    from rich.table import Table

    table = Table(
        box=None,
        header_style="dim",
        padding=(0, 2, 0, 0),
        caption="@n: regret of the first n suggestions on tasks held out / of n random ones",
        caption_justify="left",
    )
    table.add_column("model", style="cyan")
    measured = [card["held_out"] for card in cards.values() if card["held_out"]]
    shown = [f"@{n}" for n in measured[0]["n"]] if measured else []
    for column in ("tasks", "trials", "held out", *shown):
        table.add_column(column, justify="right")
    for name, card in cards.items():
        row = [name, f"{card['n_tasks']:,}", f"{card['n_evaluations']:,}"]
        held_out = card["held_out"]
        if held_out:
            pairs = zip(held_out["suggested"], held_out["random"], strict=True)
            row += [str(held_out["n_tasks"])]
            row += [f"{suggested:.3f} / {random:.3f}" for suggested, random in pairs]
        else:
            row += ["too few"]
        table.add_row(*row)
    return table
