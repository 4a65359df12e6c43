"""python -m billing [serve|migrate]"""

from billing.app import MIGRATIONS, open_service
from billing.settings import BillingSettings
from common.service import main

if __name__ == "__main__":
    main("billing", BillingSettings, open_service, migrations=MIGRATIONS)
