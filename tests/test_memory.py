"""The allocator keeps what is freed."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from keras_pixelcnnpp import memory

# More than 32 MiB: up to there, glibc learns by itself.
SIZE = 40_000_000
FAULTS = """
import resource, sys

from keras_pixelcnnpp.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = None
for step in range(20):
    b"x" * int(sys.argv[2])
    before = before or resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(choice):
    command = [sys.executable, "-c", FAULTS, choice, str(SIZE)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout)


def has_huge_pages():
    """Whether one page fault may bring 2 MiB: then their number says little."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return setting.exists() and "[always]" in setting.read_text()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
@pytest.mark.skipif(has_huge_pages(), reason="counts pages of the usual size")
def test_freed_memory_is_used_again():
    pages = SIZE // resource.getpagesize()

    # 19 arrays after the first: all new pages, or none.
    assert page_faults("keep") < pages
    assert page_faults("default") > 10 * pages


@pytest.mark.parametrize(("told", "calls"), [("0", 0), ("1", 1), (None, 1)])
def test_the_environment_can_opt_out(monkeypatch, told, calls):
    called = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: called.append(True))
    monkeypatch.delenv(memory.OPT_OUT, raising=False)
    if told is not None:
        monkeypatch.setenv(memory.OPT_OUT, told)
    memory.keep_freed_memory_unless_told.cache_clear()
    for _ in range(2):
        memory.keep_freed_memory_unless_told()
    assert len(called) == calls
