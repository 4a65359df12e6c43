"""The photo dialect: scenes."""

from common.ids import new_id
from lab.dialects.photo.words import OK, PAGE, SCENE, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import SENTENCE, WORD, Some
from lab.dialects.world import World


async def _new_scene(_world: World) -> Ask:
    return Ask(path="/api/scenes", json={"scene_name": f"Attic {new_id().hex[-6:]}", "category": "indoor", "prompt_template": "an attic"})


async def _change_scene(world: World) -> Ask:
    return Ask(path=f"/api/scenes/{await world.scene()}", json={"description": "dust in the evening light"})


async def _change_scene_badly(world: World) -> Ask:
    return Ask(path=f"/api/scenes/{await world.scene()}", json={"category": "moon"})


async def _delete_scene(world: World) -> Ask:
    return Ask(path=f"/api/scenes/{await world.scene()}")


SCENES: tuple[Row, ...] = (
    row(
        "GET",
        "/api/scenes",
        "optional",
        "The scenes",
        data(scenes=Some(SCENE), pagination=PAGE),
        at("/api/scenes?category=outdoor"),
        Refusal(400, 10001, "an unknown category", at("/api/scenes?category=moon")),
        Refusal(400, 10001, "a page below 1", at("/api/scenes?page=0")),
        takes={"category?": "indoor, outdoor, studio", "status?": "active", "keyword?": "text", "page?": "number", "pageSize?": "1 to 100"},
    ),
    row(
        "GET",
        "/api/scenes/:scene_id",
        "optional",
        "One scene",
        data(scene=SCENE),
        at("/api/scenes/paris-street"),
        Refusal(404, 70000, "unknown", at("/api/scenes/no-such-scene")),
    ),
    row(
        "GET",
        "/api/scenes/meta/categories",
        "optional",
        "How many scenes each category has",
        data(categories=Some({"category": WORD, "count": int})),
        at("/api/scenes/meta/categories"),
    ),
    row(
        "POST",
        "/api/scenes",
        "admin",
        "Make a scene",
        data(scene=SCENE),
        _new_scene,
        bad("/api/scenes", "no name", {"category": "indoor"}),
        bad("/api/scenes", "an unknown category", {"scene_name": "x", "category": "moon"}),
        takes={
            "scene_name": "text",
            "category": "indoor, outdoor, studio",
            "description?": "text",
            "prompt_template?": "text",
            "cover_image?": "text",
            "parameters?": "object",
            "tags?": "[text]",
            "status?": "active, inactive",
            "display_order?": "number",
        },
    ),
    row(
        "PUT",
        "/api/scenes/:scene_id",
        "admin",
        "Change a scene",
        data(scene=SCENE),
        _change_scene,
        Refusal(404, 70000, "unknown", at("/api/scenes/no-such-scene", json={"description": "x"})),
        Refusal(400, 10001, "an unknown category", _change_scene_badly),
        takes={"...": "as on creation, each optional"},
    ),
    row(
        "DELETE",
        "/api/scenes/:scene_id",
        "admin",
        "Delete a scene",
        {**OK, "message": SENTENCE},
        _delete_scene,
        Refusal(404, 70000, "unknown", at("/api/scenes/no-such-scene")),
    ),
)
