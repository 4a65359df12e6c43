"""python -m works [serve|migrate]"""

from common.service import main
from works.app import MIGRATIONS, open_service
from works.settings import WorksSettings

if __name__ == "__main__":
    main("works", WorksSettings, open_service, migrations=MIGRATIONS)
