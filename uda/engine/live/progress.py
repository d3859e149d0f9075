"""The progress line of a training run in a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from uda.engine.hooks import DeviceLogger, unwrapped
from uda.engine.live.remaining import Remaining, clock_time
from uda.engine.live.score_table import SCORE, score_table
from uda.engine.live.terminal import Screen, can_redraw

# How messages begin that the line and the table replace; the log file has them.
_REPLACED = ("Iter(train) ", "Iter(val) ", "IoU (%) over ")
_WITHOUT_BAR = 100  # columns of a terminal below which there is no room for a bar


@HOOKS.register_module()
class ProgressLine(Hook):
    """One line with the time that is left and three numbers, and a table at each evaluation.

    `loss` (is it learning), `kept`, the share of the target that the student learns from (is it
    adapting; without pseudo-labels the accuracy on the source in its place), and the mIoU of the
    last evaluation with the best so far (is it getting better). The first two are those of the
    last line of the log.

    Where standard output is no terminal, or `NO_COLOR` or `TERM=dumb` is set, nothing of this
    happens: the lines of the log appear as they do in the file. Only the first process writes.

    Args:
        enabled: False: always the lines of the log.
        refresh: Seconds between two changes of the line, at least.

    Raises:
        ValueError: `refresh` is negative.
    """

    priority = "VERY_LOW"  # after the line of the log

    def __init__(self, *, enabled: bool = True, refresh: float = 0.5) -> None:
        if refresh < 0:
            raise ValueError(f"ProgressLine: refresh is in seconds, at least 0, not {refresh}.")
        self.enabled, self.refresh = enabled, refresh
        self.scores: dict[str, float] = {}
        self.best: float | None = None
        self._screen: Screen | None = None
        self._remaining = Remaining(iterations=1)
        self._drawn = self._validating_since = 0.0

    def before_train(self, runner: Any) -> None:
        """Take the bottom line of the terminal, if there is one."""
        if self.enabled and get_rank() == 0 and can_redraw():
            loop = runner.train_loop
            self._remaining = Remaining(
                iterations=runner.max_iters,
                validation_interval=loop.val_interval if runner.val_loop is not None else None,
            )
            self.open(Screen(runner.logger, hidden=lambda text: text.startswith(_REPLACED)))

    def open(self, screen: Screen) -> None:
        """Begin to draw on a screen."""
        self._screen = screen
        screen.start()

    def close(self) -> None:
        """Give the terminal back; a second time does nothing."""
        screen, self._screen = self._screen, None
        if screen is not None:
            screen.stop()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Change the line, if it is time."""
        if self._screen is None:
            return
        now = time.monotonic()
        self._remaining.iteration(now)
        done = runner.iter + 1
        if now - self._drawn >= self.refresh or done == runner.max_iters:
            self._draw(runner, done, "train", now)

    def before_val(self, runner: Any) -> None:
        """Note when it began."""
        self._validating_since = time.monotonic()

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count the images of a validation."""
        now = time.monotonic()
        if self._screen is not None and now - self._drawn >= self.refresh:
            what = f"evaluate {batch_idx + 1}/{len(runner.val_dataloader)}"
            self._draw(runner, runner.iter, what, now)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Print the table and remember the scores."""
        before, self.scores = self.scores, dict(metrics or {})
        score = self.scores.get(f"{unwrapped(runner).evaluate[0]}/{SCORE}")
        if score is not None:
            self.best = score if self.best is None else max(self.best, score)
        if self._screen is None:
            return
        self._remaining.validation(time.monotonic() - self._validating_since)
        meta = runner.val_dataloader.dataset.metainfo
        table = score_table(
            self.scores,
            before,
            class_names=meta["classes"],
            palette=meta["palette"],
            title=f"IoU (%) after {runner.iter} iterations",
        )
        self._screen.print(table)

    def after_train(self, runner: Any) -> None:
        """Give the terminal back."""
        self.close()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save the scores for the line of a resumed run."""
        checkpoint["progress"] = {"scores": dict(self.scores), "best": self.best}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with them."""
        if runner.cfg.get("resume"):
            saved = checkpoint.get("progress", {"scores": {}, "best": None})
            self.scores, self.best = dict(saved["scores"]), saved["best"]

    def _draw(self, runner: Any, done: int, what: str, now: float) -> None:
        if self._screen is None:
            return
        self._drawn = now
        logger = next((hook for hook in runner.hooks if isinstance(hook, DeviceLogger)), None)
        score = self.scores.get(f"{unwrapped(runner).evaluate[0]}/{SCORE}")
        line = progress_line(
            what=what,
            done=done,
            iterations=runner.max_iters,
            left=self._remaining.seconds(done),
            numbers=three_numbers({} if logger is None else logger.last, score, self.best),
            width=self._screen.console.width,
        )
        self._screen.show(line)


def three_numbers(
    logged: Mapping[str, float], score: float | None, best: float | None
) -> dict[str, str]:
    """Loss, kept share and mIoU as the line shows them; "-" as long as there is none.

    Args:
        logged: Figures of the last line of the log.
        score: mIoU of the last evaluation in percent.
        best: Highest so far.

    >>> three_numbers({"loss": 0.51234, "pseudo/kept": 0.631}, 41.2, 43.7)
    {'loss': '0.512', 'kept': '63.1 %', 'mIoU': '41.20 (best 43.70)'}
    >>> three_numbers({"loss": 0.00051, "source/accuracy": 88.5}, None, None)
    {'loss': '5.1e-04', 'accuracy': '88.5 %', 'mIoU': '-'}
    """
    kept = next((v for k, v in logged.items() if f"/{k}".endswith("/pseudo/kept")), None)
    accuracy = logged.get("source/accuracy")
    numbers = {"loss": _short(logged["loss"]) if "loss" in logged else "-"}
    if kept is None and accuracy is not None:
        numbers["accuracy"] = f"{accuracy:.1f} %"
    else:
        numbers["kept"] = "-" if kept is None else f"{kept:.1%}".replace("%", " %")
    scored = score is not None and best is not None
    numbers["mIoU"] = f"{score:.2f} (best {best:.2f})" if scored else "-"
    return numbers


def _short(value: float) -> str:
    """Three decimals, or a power of ten where they would say little."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 1000 else f"{value:.1e}"


def progress_line(
    *,
    what: str,
    done: int,
    iterations: int,
    left: float | None,
    numbers: Mapping[str, str],
    width: int,
) -> RenderableType:
    """The line itself, with a bar where there is room for it.

    Args:
        what: What is being done.
        done: Iterations that are over.
        iterations: Of the whole run.
        left: Seconds to the end, if known.
        numbers: What else is shown, by name.
        width: Columns of the terminal.
    """
    line = Table.grid(padding=(0, 1), expand=True)
    text = Text.assemble(
        (what, "bold"), f" {done}/{iterations}", ("  ETA ", "dim"), clock_time(left), no_wrap=True
    )
    figures = Text(no_wrap=True, overflow="ellipsis")
    for name, value in numbers.items():
        figures.append("  ").append(f"{name} ", style="dim").append(value)
    line.add_column(no_wrap=True)
    cells: list[RenderableType] = [text]
    if width >= _WITHOUT_BAR:
        line.add_column(ratio=1)
        cells.append(ProgressBar(total=iterations, completed=done))
    line.add_column(no_wrap=True)
    line.add_row(*cells, figures)
    return line
