"""In a folder that others may write into, a user's own lies apart."""

from __future__ import annotations

import os
import stat

import pytest

from edgekit.errors import ResourceError
from edgekit.workers.private_folder import make_private_folder, private_folder

OWN = f"user-{os.geteuid()}"


def test_a_new_folder_is_its_owners_alone(tmp_path):
    folder = make_private_folder(tmp_path / "a" / "cache")
    assert folder == tmp_path / "a" / "cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(("mode", "is_shared"), [(0o755, False), (0o775, True), (0o1777, True)])
def test_where_others_may_write_each_user_has_a_folder(tmp_path, mode, is_shared):
    tmp_path.chmod(mode)
    expected = tmp_path / OWN if is_shared else tmp_path
    assert private_folder(tmp_path) == make_private_folder(tmp_path) == private_folder(tmp_path) == expected


def test_a_link_to_a_folder_of_ones_own_is_followed(tmp_path):
    (tmp_path / "big").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "big")
    assert private_folder(tmp_path / "cache") == tmp_path / "cache"


def test_a_link_that_somebody_put_into_a_shared_folder_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / OWN).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResourceError) as caught:
        private_folder(tmp_path)
    assert caught.value.message == (
        f"The cache folder {tmp_path / OWN} is a link or belongs to another user (user {os.geteuid()}), so what lies "
        "there is not used. Remove it, or name another cache folder with EDGEKIT_CACHE_DIR."
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_the_folder_of_another_user_is_shared(tmp_path):
    os.chown(tmp_path, 12345, 12345)
    assert private_folder(tmp_path) == tmp_path / OWN
