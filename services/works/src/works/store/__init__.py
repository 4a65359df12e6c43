"""Every SQL statement works runs."""

from works.store.files import (
    claim_loose_object,
    count_incoming,
    delete_files,
    delete_files_by_id,
    delete_loose_objects,
    find_storage,
    has_file,
    insert_files,
    insert_loose_objects,
    is_named,
    list_due_objects,
    load_files,
    lock_incoming,
    lock_storage,
    move_storage,
)
from works.store.lists import count_all, count_everybodys, count_works, list_deleted, list_everybodys, list_works, load_work, load_works
from works.store.marks import (
    delete_likes,
    delete_plays,
    empty_works,
    find_growing,
    insert_admin_actions,
    insert_likes,
    insert_plays,
    lock_works,
    move_counts,
    move_shelves,
    move_tally,
    save_marks,
)
from works.store.people import keep_names
from works.store.tags import claim_retagging, delete_retagging, insert_tags, list_next, lock_mistagged, save_retagging, save_tags
from works.store.works import complete_photos, empty_orphans, insert_works, keep_songs, keep_works, load_body_hashes, move_creations_back

__all__ = [
    "claim_loose_object", "claim_retagging", "complete_photos", "count_all", "count_everybodys", "count_incoming", "count_works", "delete_files",
    "delete_files_by_id", "delete_likes", "delete_loose_objects", "delete_plays", "delete_retagging", "empty_orphans", "empty_works", "find_growing",
    "find_storage", "has_file", "insert_admin_actions", "insert_files", "insert_likes", "insert_loose_objects", "insert_plays", "insert_tags",
    "insert_works", "is_named", "keep_names", "keep_songs", "keep_works", "list_deleted", "list_due_objects", "list_everybodys", "list_next",
    "list_works", "load_body_hashes", "load_files", "load_work", "load_works", "lock_incoming", "lock_mistagged", "lock_storage", "lock_works",
    "move_counts", "move_creations_back", "move_shelves", "move_storage", "move_tally", "save_marks", "save_retagging", "save_tags",
]  # fmt: skip
