"""What a load does while it goes on: a moving line on a terminal, plain lines elsewhere.

Does not belong here: counting (``sources.kinds.Figures``; readers add to it) and what is printed at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from orchestration.sources.kinds import Figures

EVERY_SECONDS = 30.0
"""Time between two plain lines of one load."""


def counted(number: int, what: str) -> str:
    """``1 row``, ``1,200 rows``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def in_words(figures: Figures) -> str:
    """What was done so far: ``1,200 rows, 13 requests (2 again), 3.4 s waited, 1.2 MB``."""
    said = [counted(figures.rows, "row")]
    if figures.requests:
        again = f" ({figures.retries} again)" if figures.retries else ""
        said.append(f"{counted(figures.requests, 'request')}{again}")
    if figures.wait_seconds >= 0.1:
        said.append(f"{figures.wait_seconds:.1f} s waited")
    if figures.bytes_received >= 100_000:
        said.append(f"{figures.bytes_received / 1e6:.1f} MB")
    return ", ".join(said)


class Watcher:
    """Shows loads one after the other; ``watch`` may be called from another thread."""

    def __init__(self, stream: TextIO, every_seconds: float = EVERY_SECONDS) -> None:
        self.console = Console(file=stream, highlight=False, soft_wrap=True, emoji=False)
        self._every = every_seconds
        self._bar: Progress | None = None
        self._shown: TaskID | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at a line that can move."""
        return self.console.is_terminal

    @contextmanager
    def showing(self) -> Iterator[Watcher]:
        """Show what is watched inside."""
        if not self.is_terminal:
            yield self
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            _Parts(),
            _Said(Column(no_wrap=True)),
            TimeElapsedColumn(),
        )
        # What is printed meanwhile goes where it was sent: into a night's log.
        with Progress(
            *columns,
            console=self.console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as bar:
            self._bar = bar
            try:
                yield self
            finally:
                self._bar = self._shown = None

    def watch(self, name: str, figures: Figures) -> None:
        """Show these figures from now on, instead of those before; plain lines are not written."""
        if self._bar is not None:
            self._forget()
            self._shown = self._bar.add_task(name, total=None, figures=figures)

    def steps(self, name: str, total: int) -> Callable[[Any], None]:
        """Show how many of ``total`` steps of a run have ended, and which one runs.

        Returns:
            What is to be told of each event of the run.
        """
        figures = Figures(parts=total)
        if self._bar is not None:
            self._bar.add_task(name, total=None, figures=figures)

        def tell(entry: Any) -> None:
            match entry.dagster_event.event_type_value if entry.dagster_event else None:
                case "STEP_START":
                    figures.doing = entry.dagster_event.step_key
                case "STEP_SUCCESS" | "STEP_FAILURE" | "STEP_SKIPPED":
                    figures.parts_done += 1
                    self._forget()

        return tell

    def _forget(self) -> None:
        """Show no load any more."""
        if self._bar is not None and self._shown is not None:
            self._bar.remove_task(self._shown)
        self._shown = None

    @contextmanager
    def load(self, name: str, figures: Figures) -> Iterator[None]:
        """Show one load; where nobody can see a moving line, a line now and then."""
        if self._bar is not None:
            self.watch(name, figures)
            yield
            return
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(self._every):
                doing = f"; {figures.doing}" if figures.doing else ""
                self.say(f"{name}: {in_words(figures)} so far{doing}")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def say(self, line: str) -> None:
        """Print a line, above the moving one."""
        self.console.print(line, markup=False)


class _Parts(ProgressColumn):
    """Parts of the window that were read, where it is known how many there are."""

    def render(self, task: Task) -> ProgressBar | Text:
        figures: Figures = task.fields["figures"]
        if not figures.parts or figures.parts == 1:
            return Text("")
        return ProgressBar(total=figures.parts, completed=min(figures.parts_done, figures.parts), width=24)


class _Said(ProgressColumn):
    def render(self, task: Task) -> Text:
        figures: Figures = task.fields["figures"]
        counted_ = in_words(figures) if figures.rows or figures.requests else ""
        return Text("; ".join(filter(None, (counted_, figures.doing))))
