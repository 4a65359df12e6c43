"""Broken JSON, wrong fields, broken forms, odd queries and ids."""

import gzip
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from lab.hostile.verdict import ANYTHING, INVALID, Expected

JSON_HEADERS = {"Content-Type": "application/json"}


def _nested(depth: int) -> dict[str, Any]:
    """An object in an object, and so on."""
    made: dict[str, Any] = {}
    for _ in range(depth):
        made = {"a": made}
    return made


WRONG_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    2**63 - 1,
    -(2**63) + 1,
    1e308,
    1e-320,
    "",
    " ",
    "-1",
    "NaN",
    "x" * 6000,
    "\u202e\u2028\U0010ffff",
    "\ufffe",
    "%00",
    "';--",
    "${7*7}",
    [],
    [[]],
    [None],
    [{}],
    ["x"] * 60,
    {},
    {"a": {"b": [1]}},
    '["\\u0000"]',
    '["\\ud800"]',
    "[" * 5000,
    "null",
    "0x7f",
    _nested(150),
    _nested(800),
)

IMAGES: tuple[str, ...] = (
    "https://example.com/photo.jpg",
    "http://127.0.0.1:1/",
    "http://[::ffff:127.0.0.1]/files/x.jpg",
    "http://0x7f000001/",
    "http://169.254.169.254/latest/",
    "http://１２７.０.０.１/",
    "file:///etc/passwd",
    "ftp://example.com/a.png",
    "//example.com/a.png",
    "http://user:pass@example.com/a.png",
    "gopher://x/_",
    "javascript:alert(1)",
    "data:",
    "data:,",
    "data:text/html;base64,PGI+",
    "data:image/svg+xml;base64,PHN2Zy8+",
    "data:image/gif;base64,R0lGODlh",
    "data:image/png;base64,@@@@",
    "data:image/png;base64,A",
    "data:image/png,plain",
    "data:image/png;base64;base64,AAAA",
    "data:image/png;base64,",
    "DATA:IMAGE/PNG;BASE64,aGVsbG8=",
    "data:image/png;base64,aGVs bG8=",
    "data:image/jpeg;base64,/9j/4AAQSkZJRg==",
    "http://[",
    "http://[::1",
    "/files/",
    "/files/..",
    "/files/uploads/x.jpg?exp=1&sig=x",
    "/files/uploads/x.jpg?exp=９９９９９９９９９９&sig=é",
    "",
    " ",
    "\u202egnp.x",
    "x" * 100_000,
)

QUERY_VALUES: tuple[str, ...] = (
    "-1",
    "0",
    "1.5",
    "1e3",
    "10000000000",
    "9" * 5000,
    "99999999999999999999",
    "NaN",
    "Infinity",
    "true",
    "null",
    "[]",
    "{}",
    "%00",
    "a%00b",
    "%FF",
    "%ED%A0%80",
    "%D9%A1",
    "'%20OR%201=1--",
    "x" * 3000,
    "2026-02-30",
    "0001-01-01T00:00:00%2B14:00",
    "9999-12-31",
    "%2B",
    "%F0%9F%90%88",
    "%25",
    b"\x7f".hex(),
)

ODD_IDS: tuple[str, ...] = (
    "x",
    "0",
    "-1",
    "1" * 36,
    "z" * 36,
    "00000000-0000-0000-0000-000000000000",
    "018f0000-0000-7000-8000-000000000000",
    "018F0000-0000-7000-8000-000000000000",
    "%7B018f0000-0000-7000-8000-000000000000%7D",
    "018f00000000700080000000000000000000",
    "%00",
    "a%00",
    "018f0000-0000-7000-8000-00000000000%00",
    "..",
    ".",
    "%2e%2e",
    "..%2f..%2finternal",
    "..%5c..",
    "%2F",
    "%5C",
    "%ff",
    "%ED%A0%80",
    "%F0%9F%90%88",
    "%E2%80%AE",
    "'",
    "%27%20OR%201=1",
    "*",
    "%25",
    "%2500",
    ";a=b",
    "a;b",
    "%0d%0aX:1",
    "a" * 300,
    "a" * 10_000,
    "%D9%A1" * 36,
    "null",
    "undefined",
    "true",
    "urn:uuid:018f0000-0000-7000-8000-00",
)


def broken_json(sample: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Bodies that are no JSON object anybody may accept, whatever the fields mean; each is to be refused as a whole."""
    good = json.dumps(sample)
    first = next(iter(sample))
    for name, raw in {
        "NaN": "NaN",
        "Infinity": "Infinity",
        "-Infinity": "-Infinity",
        "1e999": "1e999",
        "-1e999": "-1e999",
        "5000 digits": "1" * 5000,
        "5000 digits after the point": "1e" + "9" * 5000,
        "20 digits": "9" * 20,
        "leading zero": "01",
        "hex": "0x10",
        "plus": "+1",
        "bare point": "1.",
        "single quotes": "'x'",
        "unquoted": "x",
        "NUL escape": '"a\\u0000b"',
        "NUL escape, nested": '[{"a\\u0000": 1}]',
        "lone surrogate": '"\\ud800"',
        "reversed surrogates": '"\\udc00\\ud800"',
        "bad escape": '"\\x41"',
        "raw newline": '"a\nb"',
        "twice inside": '{"a": 1, "a": 2}',
        "twice inside, escaped": '{"a": 1, "\\u0061": 2}',
        "deep": "[" * 2000 + "]" * 2000,
        "cut": '"abc',
        "comment": "1 /* */",
        "comma": "[1,]",
    }.items():
        yield name, good[:-1].encode() + b', "zz": ' + raw.encode() + b"}"
    yield "the first field twice", f"{{{json.dumps(first)}: {json.dumps(sample[first])}, {good[1:]}".encode()
    yield "the first field twice, escaped", f'{{"\\u{ord(first[0]):04x}{first[1:]}": 1, {good[1:]}'.encode()
    for name, body in {
        "nothing": b"",
        "blank": b" \r\n",
        "null": b"null",
        "a list": b"[]",
        "a list of it": b"[" + good.encode() + b"]",
        "a text": b'"x"',
        "a number": b"1",
        "true": b"true",
        "cut": good[:-1].encode(),
        "more behind": good.encode() + b"x",
        "twice": good.encode() * 2,
        "comma at the end": good[:-1].encode() + b",}",
        "form": b"a=b&c=d",
        "xml": b"<a/>",
        "100000 [": b"[" * 100_000,
        "100000 objects": b'{"a":' * 30_000,
        "BOM": b"\xef\xbb\xbf" + good.encode(),
        "UTF-16": good.encode("utf-16"),
        "UTF-16 bare": good.encode("utf-16-le"),
        "UTF-32": good.encode("utf-32"),
        "NUL before": b"\x00" + good.encode(),
        "NUL behind": good.encode() + b"\x00",
        "gzip unsaid": gzip.compress(good.encode()),
        "invalid UTF-8": good[:-1].encode() + b', "zz": "\xff"}',
        "overlong UTF-8": good[:-1].encode() + b', "zz": "\xc0\x80"}',
        "UTF-8 surrogate": good[:-1].encode() + b', "zz": "\xed\xa0\x80"}',
        "invalid UTF-8 name": good[:-1].encode() + b', "\xff": 1}',
        "raw NUL": good[:-1].encode() + b', "zz": "a\x00"}',
        "random": bytes(range(256)),
    }.items():
        yield name, body


def encoded_bodies(sample: Mapping[str, Any], bytes_max: int) -> Iterator[tuple[str, dict[str, str], bytes, Expected]]:
    """Bodies that are odd by how they are sent: (name, headers, body, what is right)."""
    good = json.dumps(sample).encode()
    yield "says gzip, is none", {**JSON_HEADERS, "Content-Encoding": "gzip"}, good, Expected((400, 415))
    yield "says deflate, is none", {**JSON_HEADERS, "Content-Encoding": "deflate"}, b"\x00" + good, Expected((400, 415))
    yield "says br, is none", {**JSON_HEADERS, "Content-Encoding": "br"}, b"\x00" + good, Expected((400, 415))
    yield "gzip cut off", {**JSON_HEADERS, "Content-Encoding": "gzip"}, gzip.compress(good)[:-12], Expected((400, 415))
    yield "an encoding nobody knows", {**JSON_HEADERS, "Content-Encoding": "rot13"}, b"\x01" + good, Expected((400, 415))
    yield "says XML", {"Content-Type": "text/xml"}, good, Expected((400, 415), (10001,))
    yield "says form", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=b", Expected((400, 415), (10001,))
    yield "type is nonsense", {"Content-Type": "~;;;=\xe9"}, good, ANYTHING
    yield "charset is UTF-16", {"Content-Type": "application/json; charset=utf-16"}, good.decode().encode("utf-16"), INVALID
    if bytes_max <= 1024 * 1024:
        yield "too large", JSON_HEADERS, good[:-1] + b', "zz": "' + b"x" * bytes_max + b'"}', Expected((413,))
        yield "too large once unpacked", {**JSON_HEADERS, "Content-Encoding": "gzip"}, _bomb(), Expected((413, 415, 400))


@cache
def _bomb() -> bytes:
    """Small as it is sent, 100 MiB once unpacked."""
    return gzip.compress(b" " * 100 * 1024 * 1024)


def wrong_fields(model: type[BaseModel], sample: Mapping[str, Any]) -> Iterator[tuple[str, bytes, Expected]]:
    """Each field missing, each field wrong in every way; the model itself says which of them it cannot take, and those must be named."""
    for field in sample:
        without = {name: value for name, value in sample.items() if name != field}
        yield f"no {field}", json.dumps(without).encode(), _expected(model, without, field)
        for number, value in enumerate(WRONG_VALUES):
            changed = {**sample, field: value}
            yield f"{field} wrong {number} {str(value)[:20]!r}", json.dumps(changed).encode(), _expected(model, changed, field)
        if isinstance(sample[field], dict):
            for inner in sample[field]:
                for number, value in enumerate(WRONG_VALUES):
                    changed = {**sample, field: {**sample[field], inner: value}}
                    yield f"{field}.{inner} wrong {number}", json.dumps(changed).encode(), _expected(model, changed, field)


def _expected(model: type[BaseModel], body: Mapping[str, Any], field: str) -> Expected:
    try:
        model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        # What is nested too deep is no JSON that anybody reads, whatever field it is in.
        is_read = all(one["type"] != "json_invalid" for one in error.errors())
        return Expected((400,), (10001,), field if is_read else None)
    return ANYTHING


def odd_queries(model: type[BaseModel]) -> Iterator[tuple[str, str, Expected]]:
    """(name, query, what is right) for each field of a query model."""
    known = set(model.model_fields)
    for field in sorted(known):
        for value in QUERY_VALUES:
            expected = Expected((400,), (10001,), field) if "%00" in value else Expected((200, 400))
            yield f"{field}={value[:20]}", f"{field}={value}", expected
        yield f"{field} twice", f"{field}=1&{field}=zzz", Expected((200, 400))
        yield f"{field} as a list", f"{field}[]=1&{field}[a]=2", Expected((200,))
    for query in (
        "sort=password_hash",
        "order=1;drop",
        "order_by=balance",
        "fields=*",
        "x" * 4000,
        "&&&===&",
        "%",
        "%zz",
        "a=%E4",
        "=1",
        "?" * 20,
        "a=1;b=2",
        "page=1" + "&page=2" * 1000,
    ):
        yield query[:20], query, Expected((200, 400))
    if "page" in known:
        for size in known & {"pageSize", "limit"}:
            for value in ("-1", "0", "1.5", "1000000000", "101"):
                yield f"{size}={value}", f"{size}={value}", INVALID
            yield "the last page there can be", f"page=1000000&{size}=100", Expected((200, 400))
        for value in ("-1", "0", "1.5", "1000000000", "9" * 30):
            yield f"page={value}", f"page={value}", INVALID


def form(parts: list[tuple[str, bytes]], *, boundary: str = "edge") -> bytes:
    """A multipart body of (the part's headers, its bytes)."""
    pieces = [f"--{boundary}\r\n{head}\r\n\r\n".encode("utf-8", "surrogateescape") + content + b"\r\n" for head, content in parts]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


FORM_HEADERS = {"Content-Type": "multipart/form-data; boundary=edge"}


def picture_part(name: str, content: bytes, *, filename: str = "photo.png", kind: str = "image/png", more: str = "") -> tuple[str, bytes]:
    """A part that carries a file."""
    return f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}{more}', content


def field_part(name: str, content: bytes, *, more: str = "") -> tuple[str, bytes]:
    """A part that carries a text."""
    return f'Content-Disposition: form-data; name="{name}"{more}', content


def broken_forms(file_name: str, picture: bytes) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Multipart bodies that nobody can read; each is to be refused."""
    whole = form([picture_part(file_name, picture)])
    for name, kind in {
        "no boundary": "multipart/form-data",
        "empty boundary": "multipart/form-data; boundary=",
        "long boundary": "multipart/form-data; boundary=" + "x" * 500,
        "another boundary": "multipart/form-data; boundary=other",
        "odd boundary": 'multipart/form-data; boundary="\\"',
        "mixed": "multipart/mixed; boundary=nope",
        "no kind": "multipart/; boundary=nope",
    }.items():
        yield name, {"Content-Type": kind}, whole
    for name, body in {
        "nothing": b"",
        "only the end": b"--edge--\r\n",
        "only a beginning": b"--edge",
        "no end": whole[:-10],
        "cut in the file": whole[: len(whole) // 2],
        "cut in the head": whole[:30],
        "cut behind the head": b'--edge\r\nContent-Disposition: form-data; name="' + file_name.encode() + b'"; filename="a.png"\r\n\r\n',
        "no blank line": b"--edge\r\nContent-Disposition: form-data\r\n--edge--\r\n",
        "text before": b"hello " * 100_000,
        "no name": form([('Content-Disposition: form-data; filename="a.png"', picture)]),
        "no disposition": form([("X: 1", picture)]),
        "no heads": form([("", picture)]),
        "another name": form([picture_part("other", picture)]),
        "nested": form([("Content-Type: multipart/mixed; boundary=inner", form([picture_part(file_name, picture)], boundary="inner"))]),
        "empty file": form([picture_part(file_name, b"")]),
        "twice": form([picture_part(file_name, picture)] * 2),
        "300 parts": form([field_part(f"f{n}", b"x") for n in range(300)]),
        "huge head": form([(f"X-Junk: {'x' * 100_000}", picture)]),
        "many heads": form([("\r\n".join(f"X-{n}: 1" for n in range(2000)), picture)]),
        "huge field": form([field_part("title", b"x" * 300_000)]),
        "a fold": form([("Content-Disposition: form-data;\r\n\tname=x", b"x")]),
        "bad charset": form([("Content-Disposition: form-data; name*=utf-99''x", b"x")]),
    }.items():
        yield name, FORM_HEADERS, body


def spoilt_forms(file_name: str, before: list[tuple[str, bytes]], picture: bytes) -> Iterator[tuple[str, bytes]]:
    """Multipart bodies that are good up to and with their file, and bad behind it; each is to be refused as a whole."""
    good = [*before, picture_part(file_name, picture)]
    for name, more in {
        "then a file of another name": picture_part("other", picture),
        "then a file that is no picture": picture_part(file_name, b"no picture"),
        "then a field of 200 kB": field_part("style", b"x" * 200_000),
        "then a field nobody knows, of 200 kB": field_part("other", b"x" * 200_000),
    }.items():
        yield name, form([*good, more])
    whole = form(good)
    behind = len(whole) - len(b"--edge--\r\n")
    yield "then the end is missing", whole[:behind]
    yield "then the end is cut", whole[:-5]
    yield "then a part is cut in its head", whole[:behind] + form([field_part("other", b"x")])[:30]
    yield "then a part is cut", whole[:behind] + form([field_part("other", b"x" * 100)])[:-50]


def lenient_forms(file_name: str, picture: bytes) -> Iterator[tuple[str, bytes]]:
    """Multipart bodies whose oddity a reader may overlook or refuse."""
    for name, more in {
        "length too small": "Content-Length: 3",
        "length too large": "Content-Length: 99999",
        "length is text": "Content-Length: abc",
        "length negative": "Content-Length: -5",
        "coding is nonsense": "Content-Transfer-Encoding: rot13",
        "encoding is nonsense": "Content-Encoding: rot13",
    }.items():
        yield name, form([picture_part(file_name, picture, more=f"\r\n{more}")])


def escaped(value: str) -> str:
    """One path segment."""
    return quote(value, safe="")
