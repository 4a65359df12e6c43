"""What attackers send, as tables, and what every answer to it must look like."""

from lab.hostile.onslaught import Attacker
from lab.hostile.verdict import Answer, Case, Expected, judge

__all__ = ["Answer", "Attacker", "Case", "Expected", "judge"]
