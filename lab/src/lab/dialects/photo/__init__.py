"""The photo dialect's rows: every path of the photo system's document and those its own clients call besides, a chapter per file."""

from lab.dialects.photo.credits import CREDITS
from lab.dialects.photo.files import FILES
from lab.dialects.photo.operators import OPERATORS
from lab.dialects.photo.people import PEOPLE
from lab.dialects.photo.scenes import SCENES
from lab.dialects.photo.system import SYSTEM
from lab.dialects.photo.tasks import TASKS
from lab.dialects.photo.works import WORKS
from lab.dialects.rows import Row

PHOTO: tuple[Row, ...] = (*PEOPLE, *WORKS, *TASKS, *SCENES, *FILES, *CREDITS, *OPERATORS, *SYSTEM)

__all__ = ["PHOTO"]
