"""python -m notify [serve|migrate]"""

from common.service import main
from notify.app import MIGRATIONS, open_service
from notify.settings import NotifySettings

if __name__ == "__main__":
    main("notify", NotifySettings, open_service, migrations=MIGRATIONS)
