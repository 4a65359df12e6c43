"""The hidden half of the AI-content label (GB 45438-2025): XMP in pictures, a Vorbis comment in songs; written last."""

import json
import struct
import zlib
from functools import cache
from xml.sax.saxutils import escape

AIGC_NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
PRODUCER = "darkroom"
COMMENT_PACKET_START = b"\x03vorbis"
SETUP_PACKET_START = b"\x05vorbis"
LACING_MAX = 255


def aigc_value(produce_id: str, *, producer: str = PRODUCER) -> str:
    """The label as one JSON value. `Label` 1 says: generated. We make and hand out, so both names are ours."""
    return json.dumps(
        {
            "Label": "1",
            "ContentProducer": producer,
            "ProduceID": produce_id,
            "ReservedCode1": "",
            "ContentPropagator": producer,
            "PropagateID": produce_id,
            "ReservedCode2": "",
        },
        separators=(",", ":"),
    )


def picture_xmp(produce_id: str) -> bytes:
    """An XMP packet for Pillow's `xmp=`."""
    value = escape(aigc_value(produce_id), {'"': "&quot;"})
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:TC260="{AIGC_NAMESPACE}"><TC260:AIGC>{value}</TC260:AIGC></rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def label_song(ogg: bytes, produce_id: str) -> bytes:
    """Add `AIGC=...` to the comments of an Ogg Vorbis file without touching a single sample.

    The library that encodes knows only a fixed set of comment names, so the comment packet is rebuilt here and the pages written anew;
    on the way the stream's random serial number becomes one made from the label, so that the same song is the same bytes.
    """
    pages = _split_pages(ogg)
    (comment, setup), last = _header_packets(pages)
    serial = zlib.crc32(produce_id.encode())
    rebuilt = _paginate([_with_comment(comment, f"AIGC={aigc_value(produce_id)}"), setup], serial=serial, first_number=1)
    moved = len(rebuilt) - last
    first, *tail = (_readdressed(page, serial=serial, moved=moved if number else 0) for number, page in enumerate([pages[0], *pages[last + 1 :]]))
    return b"".join([first, *rebuilt, *tail])


def _split_pages(ogg: bytes) -> list[bytes]:
    pages, at = [], 0
    while at < len(ogg):
        if ogg[at : at + 4] != b"OggS":
            raise ValueError("not an Ogg page")
        count = ogg[at + 26]
        end = at + 27 + count + sum(ogg[at + 27 : at + 27 + count])
        pages.append(ogg[at:end])
        at = end
    return pages


def _header_packets(pages: list[bytes]) -> tuple[list[bytes], int]:
    """The comment and setup packets, and the number of the page on which the second ends."""
    packets, current = [], b""
    for number, page in enumerate(pages[1:], start=1):
        count = page[26]
        at = 27 + count
        for lacing in page[27 : 27 + count]:
            current += page[at : at + lacing]
            at += lacing
            if lacing < LACING_MAX:
                packets.append(current)
                current = b""
        if len(packets) >= 2:
            if len(packets) > 2 or not packets[0].startswith(COMMENT_PACKET_START) or not packets[1].startswith(SETUP_PACKET_START):
                break
            return packets, number
    raise ValueError("not an Ogg Vorbis file as the encoder writes it")


def _with_comment(packet: bytes, comment: str) -> bytes:
    at = len(COMMENT_PACKET_START)
    vendor_bytes = struct.unpack_from("<I", packet, at)[0]
    count_at = at + 4 + vendor_bytes
    count = struct.unpack_from("<I", packet, count_at)[0]
    line = comment.encode()
    listed = packet[count_at + 4 :].rstrip(b"\x00")
    body = listed[:-1] if listed.endswith(b"\x01") else listed
    return packet[:count_at] + struct.pack("<I", count + 1) + body + struct.pack("<I", len(line)) + line + b"\x01"


def _paginate(packets: list[bytes], *, serial: int, first_number: int) -> list[bytes]:
    lacing: list[int] = []
    for packet in packets:
        lacing += [LACING_MAX] * (len(packet) // LACING_MAX) + [len(packet) % LACING_MAX]
    pages: list[bytes] = []
    body, at = b"".join(packets), 0
    ends = _packet_ends(packets)
    for start in range(0, len(lacing), LACING_MAX):
        part = lacing[start : start + LACING_MAX]
        size = sum(part)
        continued = 0 if at == 0 or at in ends else 1
        complete = any(value < LACING_MAX for value in part)
        granule = 0 if complete else -1
        head = struct.pack("<4sBBqIIIB", b"OggS", 0, continued, granule, serial, first_number + len(pages), 0, len(part))
        pages.append(_with_checksum(head + bytes(part) + body[at : at + size]))
        at += size
    return pages


def _packet_ends(packets: list[bytes]) -> set[int]:
    ends, total = set(), 0
    for packet in packets:
        total += len(packet)
        ends.add(total)
    return ends


def _readdressed(page: bytes, *, serial: int, moved: int) -> bytes:
    number = struct.unpack_from("<I", page, 18)[0] + moved
    return _with_checksum(page[:14] + struct.pack("<II", serial, number) + page[22:])


def _with_checksum(page: bytes) -> bytes:
    blank = page[:22] + b"\x00\x00\x00\x00" + page[26:]
    return page[:22] + struct.pack("<I", _checksum(blank)) + page[26:]


@cache
def _mirrored_bytes() -> bytes:
    return bytes(int(f"{number:08b}"[::-1], 2) for number in range(256))


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32 is zlib's with every bit the other way round and without its inversions."""
    mirrored = zlib.crc32(page.translate(_mirrored_bytes()), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
