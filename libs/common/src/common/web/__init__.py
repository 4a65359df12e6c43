"""HTTP for every service: routes as data, one wrapping of each, three dialects' envelopes, OpenAPI from the same data."""

from common.web.application import build_application
from common.web.model import Model, Moment, Query, Whole
from common.web.route import HTML, SCRIPT, STYLE, Answer, Media, Request, Route
from common.web.runner import WebRunner

__all__ = ["HTML", "SCRIPT", "STYLE", "Answer", "Media", "Model", "Moment", "Query", "Request", "Route", "WebRunner", "Whole", "build_application"]
