"""Signed links: what they are good for, how long, and what they prove."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from common.errors import FileNotFound, Forbidden
from common.objects import UrlSigner, former_thumbnail_key, source_of_thumbnail, thumbnail_key
from common.testing.doors import SECRET

KEY = "results/01890000-0000-7000-8000-000000000001/0-" + "ab" * 32 + ".webp"
NOW = datetime(2026, 3, 4, 5, 7, 1, tzinfo=UTC)


@pytest.fixture
def signer() -> UrlSigner:
    return UrlSigner(SECRET, "http://127.0.0.1:8080")


def parts(url: str) -> tuple[str, dict[str, str]]:
    split = urlsplit(url)
    return split.path, dict(parse_qsl(split.query))


def test_a_link_is_good_for_its_key_until_it_ends(signer: UrlSigner) -> None:
    url = signer.sign(KEY, now=NOW)
    assert url.startswith(f"http://127.0.0.1:8080/files/{KEY}?exp=")
    path, query = parts(url)
    assert signer.verify(path, query, NOW) == KEY
    assert signer.verify(path, query, NOW + timedelta(minutes=54)) == KEY
    with pytest.raises(Forbidden):
        signer.verify(path, query, NOW + timedelta(minutes=61))


def test_links_rendered_within_a_step_are_the_same(signer: UrlSigner) -> None:
    at = datetime(2026, 3, 4, 5, 5, 0, tzinfo=UTC)
    assert len({signer.sign(KEY, now=at + timedelta(seconds=second)) for second in range(300)}) == 1
    assert len({signer.sign(KEY, now=at + timedelta(seconds=second)) for second in range(301)}) == 2


def test_anothers_link_is_dead_within_five_minutes_and_never_at_birth(signer: UrlSigner) -> None:
    for second in range(0, 600, 7):
        now = NOW + timedelta(seconds=second)
        path, query = parts(signer.sign(KEY, now=now, owner=False))
        assert signer.verify(path, query, now + timedelta(seconds=239)) == KEY
        with pytest.raises(Forbidden):
            signer.verify(path, query, now + timedelta(seconds=301))


def test_a_link_we_did_not_make_is_an_unknown_file(signer: UrlSigner) -> None:
    path, query = parts(signer.sign(KEY, now=NOW))
    later = str(int(query["exp"]) + 300)
    other_key = path.replace("0-", "1-")
    wrong = [
        (path, {}), (path, {"exp": query["exp"]}), (path, {**query, "sig": ""}),
        (path, {**query, "sig": query["sig"][:-1] + "x"}), (path, {**query, "sig": "é"}),
        (path, {**query, "exp": later}), (path, {**query, "exp": "1e12"}), (path, {**query, "exp": "９９"}), (path, {**query, "exp": "-1"}),
        (path, {**query, "exp": "9" * 30}), (path, {**query, "exp": f"0{query['exp']}x"}), (other_key, query), ("/elsewhere/" + KEY, query), ("/files/", query),
        ("/files/../" + KEY, query), ("/files/%2e%2e/" + KEY, query),
    ]  # fmt: skip
    for one_path, one_query in wrong:
        with pytest.raises(FileNotFound):
            signer.verify(one_path, one_query, NOW)
    with pytest.raises(FileNotFound):
        UrlSigner("another" + SECRET, "http://127.0.0.1:8080").verify(path, query, NOW)


def test_a_link_proves_its_key_whatever_its_age_and_host(signer: UrlSigner) -> None:
    url = signer.sign(KEY, now=NOW - timedelta(days=400))
    assert signer.key_of(url) == KEY
    assert signer.key_of(url.replace("127.0.0.1:8080", "photos.example")) == KEY
    for other in ("", "x", "http://[", KEY, url.replace("sig=", "sig=a"), url.replace("exp=", "x="), "http://a/files/x?" + "&".join("a=1" for _ in range(50))):
        assert signer.key_of(other) is None


@pytest.mark.parametrize(
    ("picture", "small"),
    [("a/0-ab.webp", "a/thumb-0-ab.webp"), ("a/ab.jpg", "a/thumb-ab-jpg.webp"), ("ab.jpeg", "thumb-ab-jpeg.webp"), ("a/b/ab.png", "a/b/thumb-ab-png.webp")],
)
def test_a_small_picture_has_one_extension_and_leads_to_its_picture_under_its_former_name_too(picture: str, small: str) -> None:
    assert thumbnail_key(picture) == small
    assert former_thumbnail_key(picture) == f"{picture.rpartition('/')[0]}/thumb-{picture.rpartition('/')[2]}.webp".removeprefix("/")
    for name in (small, f"{small.rpartition('thumb-')[0]}thumb-{picture.rpartition('/')[2]}.webp"):
        assert source_of_thumbnail(name) == picture
        assert (thumbnail_key(name), former_thumbnail_key(name)) == (None, None)


def test_no_two_pictures_share_a_small_one() -> None:
    pictures = [f"{stem}.{extension}" for stem in ("a", "a-jpg", "a-png", "a.jpg", "a.webp", "a-webp", "a-b") for extension in ("jpg", "jpeg", "png", "webp")]
    for picture in pictures:
        assert source_of_thumbnail(thumbnail_key(picture) or "") == picture
    assert len({thumbnail_key(picture) for picture in pictures}) == len(pictures)
    assert [source_of_thumbnail(name) for name in ("a.webp", "thumb-a.jpg", "thumb-a.ogg.webp/x", "thumb-a.ogg.webp")] == [None] * 4
