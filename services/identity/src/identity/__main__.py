"""python -m identity [serve|migrate|admin create]"""

from common.service import main
from identity.app import MIGRATIONS, open_service
from identity.invite import print_invitation
from identity.settings import IdentitySettings

if __name__ == "__main__":
    main("identity", IdentitySettings, open_service, migrations=MIGRATIONS, commands={"admin create": print_invitation})
