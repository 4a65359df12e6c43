"""Workers: claim, make, heartbeat, finish. One kind for engines that take their time, one for engines that answer at once."""

from generation.worker.batch import BatchWorker
from generation.worker.crew import Crew
from generation.worker.single import SingleWorker
from generation.worker.studio import Studio

__all__ = ["BatchWorker", "Crew", "SingleWorker", "Studio"]
