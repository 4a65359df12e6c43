"""What other services ask: who people are; and what the embedded run asks: an operator's account."""

from common.ids import UserId, new_id
from common.web import Answer, Request, Route
from identity import store
from identity.deps import Deps
from identity.schemas.admin import AdminMade, NewAdmin, UserKnown, UsersAsk, UsersKnown


async def list_users(request: Request[Deps]) -> Answer:
    async with request.deps.db.read() as conn:
        found = await store.list_people(conn, [UserId(user_id) for user_id in dict.fromkeys(request.body.user_ids)])
    users = [
        UserKnown(
            user_id=person.user_id,
            username=person.username,
            avatar_key=person.avatar_key,
            avatar_link=person.avatar_link,
            role=person.role,
            disabled=person.disabled,
        )
        for person in found.values()
    ]
    return Answer(UsersKnown(users=users))


async def make_admin(request: Request[Deps]) -> Answer:
    """Only a service may ask, and only for a name nobody has: an operator who is there keeps the password."""
    deps, wish = request.deps, request.body
    password_hash = await deps.passwords.hash(wish.password)
    async with deps.db.transaction() as tx:
        made = await store.insert_admin(tx.conn, UserId(new_id()), wish.username, password_hash, tx.now)
    return Answer(AdminMade(username=wish.username, made=made))


ROUTES = (
    Route("POST", "/internal/users/list", list_users, auth="service", body=UsersAsk, answers={200: UsersKnown}, summary="People by id"),
    Route("POST", "/internal/admins", make_admin, auth="service", body=NewAdmin, answers={200: AdminMade}, summary="An operator, unless the name is taken"),
)
