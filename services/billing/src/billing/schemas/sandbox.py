"""What the sandbox's pay page sends."""

from typing import Literal

from common.web import Model


class Decision(Model):
    """Which button was pressed; `final` pays and refuses any refund later."""

    decision: Literal["pay", "final", "decline"]
