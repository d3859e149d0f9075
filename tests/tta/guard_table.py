"""What becomes of streams made to break adaptation: `python -m tests.tta.guard_table`.

For each stream and setting the percent right of the unadapted model, of the adaptation alone and of
the guarded one, and what the guard's log named, as Markdown.
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

from tests.tta.test_guard import BREAKING, accuracies, name_of, source_model, stream
from uda.tta import adapt


def steps_of(count: int) -> int:
    """As many as the tests take."""
    return 150 if count > 1 else 400


def row_of(
    method: str, case: tuple[str, int, dict[str, Any]], steps: int | None = None
) -> list[str | float]:
    """Name, three percentages and causes of a stream."""
    kind, count, settings = case
    steps = steps or steps_of(count)
    plain = adapt(source_model(), method, guard=False, **settings)
    alone, unadapted = accuracies(plain, stream(kind, steps, count))
    model = adapt(source_model(), method, **settings)
    guarded, _ = accuracies(model, stream(kind, steps, count))
    return [name_of(case), unadapted, alone, guarded, causes(model.report())]


def causes(report: dict[str, Any]) -> str:
    """What the log named, with counts."""
    guard = report["guard"]
    found = [f"{count} x {kind}" for kind, count in guard["reasons"].items()]
    found += [f"{count} batches doubted: {kind}" for kind, count in guard["doubts"].items()]
    if guard["blank"]:
        found.append(f"{guard['blank']} blank")
    if report["frames_not_finite"]:
        found.append(f"{report['frames_not_finite']} not finite")
    return ", ".join(found) or "nothing"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="tent")
    parser.add_argument("--steps", type=int, help="default: 150, and 400 for single images")
    options = parser.parse_args(arguments)
    logging.getLogger("uda.tta").setLevel(logging.ERROR)  # the causes are in the table
    print(
        "| stream, images a batch, settings | unadapted | no guard | guard | named by the guard |"
    )
    print("| --- | --- | --- | --- | --- |")
    for case in BREAKING:
        name, *scores, named = row_of(options.method, case, options.steps)
        shown = " | ".join(f"{score:.1f}" for score in scores)
        print(f"| {name} | {shown} | {named} |", flush=True)


if __name__ == "__main__":
    main()
