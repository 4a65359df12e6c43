"""python -m lab.dialects: write docs/dialects.md."""

from lab.dialects import TABLE
from lab.dialects.page import PAGE, render

PAGE.write_text(render(TABLE))
