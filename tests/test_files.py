import errno
import logging
import os
import subprocess
import sys
import time

import pytest

from protein_performer.files import ABANDONED, locked, replacing


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with replacing(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
        assert partial.parent == tmp_path  # on the same file system, or the last step could tear
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    target = tmp_path / "a.json"
    target.write_text("old")

    def write():
        with replacing(target) as partial:
            partial.write_text("half")
            raise fault

    with pytest.raises(fault):
        write()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    victim, target = tmp_path / "victim", tmp_path / "a.json"
    victim.write_text("precious")
    target.symlink_to(victim)
    for guess in ("a.json.partial", ".a.json.partial"):
        (tmp_path / guess).symlink_to(victim)
    with replacing(target) as partial:
        partial.write_text("new")
    assert victim.read_text() == "precious"
    assert target.read_text() == "new"
    assert not target.is_symlink()


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "a") as partial:
        partial.touch()
    modes = {(tmp_path / name).stat().st_mode for name in ("a", "plain")}
    assert len(modes) == 1


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path):
    old, new, other = (tmp_path / f".{n}.partial" for n in ("a[1].x.0", "a[1].x.1", "b.2"))
    for each in (old, new, other):
        each.touch()
    for each in (old, other):
        os.utime(each, times=2 * (time.time() - ABANDONED - 60,))
    with replacing(tmp_path / "a[1].x"):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([new.name, other.name, "a[1].x"])


def test_a_folder_that_cannot_be_written_to_is_said_at_once(tmp_path):
    writing = replacing(tmp_path / "none" / "a")
    with pytest.raises(FileNotFoundError):
        writing.__enter__()


def test_a_full_disk_is_said_with_the_file_that_it_was_for(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    told = r"No space left on device: '.*figures.json'$"
    with pytest.raises(OSError, match=told), replacing(tmp_path / "figures.json"):
        raise full
    assert os.listdir(tmp_path) == []


HOLD = """
import sys
from pathlib import Path
from protein_performer.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_holds_a_lock_and_a_killed_one_holds_nothing(tmp_path, caplog):
    path = tmp_path / "lock"
    path.write_text("")  # of a process that was killed
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"

    class KillHolder(logging.Handler):
        def emit(self, record):
            holder.kill()

    log = logging.getLogger("protein_performer.files")
    log.addHandler(handler := KillHolder())
    try:
        with caplog.at_level(logging.INFO), locked(path):
            assert "waiting for another process that holds" in caplog.text
    finally:
        log.removeHandler(handler)
        holder.communicate()
    caplog.clear()
    with locked(path):
        assert not caplog.text
