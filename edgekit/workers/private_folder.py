"""Where a folder may be shared with other users: what of it is this user's alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from edgekit.errors import ResourceError

_OWNER_ONLY: Final = 0o700
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def private_folder(root: Path) -> Path:
    """Returns `root` where only this user can write into it, else the folder `user-ID` in it. Creates nothing.

    What another user could have put there would be converted, loaded and measured as this user's own work. A link as
    `root` itself is followed: it is the user's choice, and what it leads to is judged.

    Raises:
        ResourceError: the folder in the shared one is a link or belongs to somebody else.
        OSError: it cannot be looked at.
    """
    try:
        info = root.stat()
    except FileNotFoundError:
        return root
    if info.st_uid == os.geteuid() and not info.st_mode & _WRITABLE_BY_OTHERS:
        return root
    own = root / f"user-{os.geteuid()}"
    try:
        info = own.lstat()
    except FileNotFoundError:
        return own
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise ResourceError(
            f"The cache folder {own} is a link or belongs to another user (user {info.st_uid}), so what lies there is "
            "not used. Remove it, or name another cache folder with EDGEKIT_CACHE_DIR."
        )
    return own


def make_private_folder(root: Path) -> Path:
    """Returns `private_folder(root)`, made so that only this user can enter it if it is not there yet.

    Raises:
        ResourceError: see `private_folder`.
        OSError: it cannot be made.
    """
    root.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
    folder = private_folder(root)
    folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    return folder
