"""User modules: names that do not depend on the checkout, and neighbours for the user's own code alone."""

from __future__ import annotations

import importlib
import sys

import pytest

from edgekit.task.user_modules import import_file, import_named


def test_a_modules_name_depends_on_its_place_in_the_task_and_on_nothing_else(tmp_path):
    for checkout in ("laptop", "ci"):
        (tmp_path / checkout / "models").mkdir(parents=True)
        (tmp_path / checkout / "models" / "same_place.py").write_text("")
    laptop = import_file(tmp_path / "laptop" / "models" / "same_place.py", tmp_path / "laptop")
    del sys.modules[laptop.__name__]  # as in another process
    ci = import_file(tmp_path / "ci" / "models" / "same_place.py", tmp_path / "ci")
    assert laptop.__name__ == ci.__name__
    assert ci.__file__ != laptop.__file__


def test_a_link_is_named_as_the_task_names_it(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "linked_model.py").write_text("WHERE = 'in the task'\n")
    plain = import_file(tmp_path / "task" / "linked_model.py", tmp_path / "task")
    del sys.modules[plain.__name__]
    (tmp_path / "other").mkdir()
    (tmp_path / "network.py").write_text("WHERE = 'elsewhere'\n")
    (tmp_path / "other" / "linked_model.py").symlink_to(tmp_path / "network.py")
    linked = import_file(tmp_path / "other" / "linked_model.py", tmp_path / "other")
    assert (linked.__name__, linked.WHERE) == (plain.__name__, "elsewhere")
    (tmp_path / "folder").symlink_to(tmp_path / "task")
    del sys.modules[linked.__name__]
    assert import_file(tmp_path / "task" / "linked_model.py", tmp_path / "folder").__name__ == plain.__name__


def test_two_tasks_in_one_process_do_not_share_a_module(tmp_path):
    for checkout in ("one", "two"):
        (tmp_path / checkout).mkdir()
        (tmp_path / checkout / "twice.py").write_text(f"WHERE = {checkout!r}\n")
    found = [import_file(tmp_path / checkout / "twice.py", tmp_path / checkout) for checkout in ("one", "two", "one")]
    assert [module.WHERE for module in found] == ["one", "two", "one"]
    assert found[1].__name__ == f"{found[0].__name__}_2"


def test_a_file_outside_the_task_is_named_without_its_place(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "outside.py").write_text("")
    first = import_file(tmp_path / "elsewhere" / "outside.py", tmp_path / "task").__name__
    del sys.modules[first]
    assert import_file(tmp_path / "elsewhere" / "outside.py", tmp_path / "other" / "task").__name__ == first


def test_what_is_no_module_is_refused(tmp_path):
    (tmp_path / "net.txt").write_text("")
    with pytest.raises(ImportError, match=r"^Python cannot load net\.txt\.$"):
        import_file(tmp_path / "net.txt", tmp_path)


def test_a_neighbour_is_there_for_the_users_code_and_for_nobody_else(tmp_path):
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "edgekit_framework.py").write_text(
        "def load():\n    import edgekit_shadowed\n    return edgekit_shadowed\n"
    )
    (installed / "edgekit_shadowed.py").write_text("WHOSE = 'installed'\n")
    user = tmp_path / "user"
    user.mkdir()
    (user / "edgekit_shadowed.py").write_text("WHOSE = 'the user'\n")
    (user / "net.py").write_text("import edgekit_framework\nFOUND = edgekit_framework.load().WHOSE\n")
    (user / "other.py").write_text("import edgekit_shadowed\nFOUND = edgekit_shadowed.WHOSE\n")
    sys.path.insert(0, str(installed))
    importlib.invalidate_caches()
    try:
        assert import_file(user / "net.py", user).FOUND == "installed"
        del sys.modules["edgekit_shadowed"]
        assert import_file(user / "other.py", user).FOUND == "the user"
    finally:
        sys.path.remove(str(installed))


def test_a_named_module_of_the_task_comes_before_an_installed_one(tmp_path):
    (tmp_path / "edgekit_named").mkdir()
    (tmp_path / "edgekit_named" / "inner.py").write_text("VALUE = 3\n")
    assert import_named("edgekit_named.inner", tmp_path).VALUE == 3
