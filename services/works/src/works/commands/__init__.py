"""Every change works makes: what tasks tell, what users upload and make by hand, what owners, listeners and operators do to works."""

from works.commands.curation import delete_works, mark_works, react, retag_works
from works.commands.files import announce_upload, claim_unnamed, delete_file, expect_files, look_again, loosen_objects, photo_id, save_files
from works.commands.told import create_works, keep_names, keep_told

__all__ = [
    "announce_upload", "claim_unnamed", "create_works", "delete_file", "delete_works", "expect_files", "keep_names", "keep_told", "look_again",
    "loosen_objects", "mark_works", "photo_id", "react", "retag_works", "save_files",
]  # fmt: skip
