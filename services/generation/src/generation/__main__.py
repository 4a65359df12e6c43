"""python -m generation [serve|worker|migrate]"""

from common.service import main, serve
from generation.app import MIGRATIONS, open_service, open_worker
from generation.settings import GenerationSettings


async def work(settings: GenerationSettings) -> None:
    """Run workers without answering routes."""
    await serve(settings, open_worker)


if __name__ == "__main__":
    main("generation", GenerationSettings, open_service, migrations=MIGRATIONS, commands={"worker": work})
