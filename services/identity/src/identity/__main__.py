"""python -m identity [serve|migrate]"""

from common.service import main
from identity.app import MIGRATIONS, open_service
from identity.settings import IdentitySettings

if __name__ == "__main__":
    main("identity", IdentitySettings, open_service, migrations=MIGRATIONS)
