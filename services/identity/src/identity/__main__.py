"""python -m identity [serve|migrate|admin create]"""

import sys

from common.service import main
from identity.app import MIGRATIONS, open_service
from identity.invite import print_invitation
from identity.settings import IdentitySettings

if __name__ == "__main__":
    if sys.argv[1:] == ["admin", "create"]:
        sys.argv[1:] = ["admin-create"]
    main("identity", IdentitySettings, open_service, migrations=MIGRATIONS, commands={"admin-create": print_invitation})
