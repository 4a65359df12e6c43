"""The settings operators change here at run time."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from common.config import Config, Key
from generation.domain import ITEMS_MAX

CONFIG_KEYS = (
    Key("max_batch_count", ITEMS_MAX, "How many pictures one task may ask for", Annotated[int, Field(ge=1, le=ITEMS_MAX)]),
    Key("default_batch_count", 10, "What clients' forms suggest; an ask that names no number means one", Annotated[int, Field(ge=1, le=ITEMS_MAX)]),
    Key("queue_concurrency", 5, "How many tasks an outside provider is given at a time", Annotated[int, Field(ge=1, le=1000)]),
    Key(
        "ai_api_url",
        "",
        "Where outside workflows find their model",
        Annotated[str, StringConstraints(strip_whitespace=True, max_length=2048, pattern=r"^(https?://\S+)?$")],
    ),
    Key("default_temperature", 1.0, "Passed on to outside providers", Annotated[float, Field(ge=0, le=2)]),
    Key("default_topk", 40, "Passed on to outside providers", Annotated[int, Field(ge=1, le=1000)]),
    Key("default_topp", 0.95, "Passed on to outside providers", Annotated[float, Field(gt=0, le=1)]),
)


def model_of(config: Config) -> dict[str, Any]:
    """What outside providers are told about the model, as it is set now."""
    return {
        "api_url": config["ai_api_url"], "temperature": config["default_temperature"], "top_k": config["default_topk"], "top_p": config["default_topp"],
    }  # fmt: skip
