"""What one picture knows of itself while it is made, and the shape of the steps it goes through."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from generation.providers.base import Kind
from generation.providers.local.canvas import Canvas


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """One picture of one task. The random numbers are its own: the same seed and index give the same picture."""

    kind: Kind
    scene: str | None
    index: int
    caption: str
    unit: float
    """Pixels per thousandth of the final long side: every size is told in units, so that a small proof looks like the print."""
    rng: np.random.Generator
    inks: tuple[str, ...]
    """Shadow, middle, accent and paper of this picture's palette, as #rrggbb."""

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)


@dataclass(frozen=True, slots=True)
class Step:
    """A named move of a recipe; the name is what the person sees as progress."""

    name: str
    run: Callable[[Canvas, Sitting], Canvas]
