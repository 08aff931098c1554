"""One run over the file: zeros into every byte that belongs to no row.

Law: the file is changed only while it stands still, and only where nobody looks (see `pages`), so whoever reads at the
same moment reads the same, and a crash in the middle leaves a sound file. Pages that are written during the run
may bring old bytes back, out of the writer's memory: they are zeroed again, the last of them while nobody writes.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from services.infra.sqlite.pages import (
    LOCK_PAGE,
    PAGE_BYTES,
    UnknownLayout,
    chain_of,
    check_layout,
    free_ranges,
    overflows,
    unused_pages,
    without,
)

BATCH_PAGES = 64
PAUSE_SECONDS = 0.001  # after each batch, whose looking through takes 0.3 ms that an event loop may be waiting for
STILL_SECONDS = 0.3  # for so long nothing is moved from the journal into the file
ROUNDS = 8
LEFT_AT_THE_END = 400  # pages that may be zeroed while nobody writes: each may wait 0.5 ms for the interpreter
FRAMES_AT_ONCE = 256

_HEAD_BYTES, _FRAME_BYTES = 32, 24 + PAGE_BYTES


class Zeroing:
    """What one run knows. `still` keeps the file as it is and complete; `written` gives what was committed since."""

    def __init__(
        self,
        file: int,
        still: Callable[[], AbstractContextManager[None]],
        written: Callable[[], set[int]],
    ) -> None:
        """`file` is a descriptor to read and write."""
        self._file = file
        self._still = still
        self._written = written
        self._window = (0, bytearray())  # pages that were read last: the first one's number, and all of them
        self._zeroed: set[int] = set()  # unused pages that hold zeros, unless they were written since
        self._begins: dict[int, int] = {}  # of overflow chains: the last page, and the page in which the row begins
        self._again: set[int] = set()
        self._pages = 0

    def run(self) -> None:
        """Zero all of it. Raises UnknownLayout, OSError."""
        with self._still():
            self._zero_unused(set(), time.sleep)
        first, end = 1, self._pages + 1
        while first < end:
            with self._still():
                # What an unused page holds may still look like rows, and point to pages that are somebody else's now.
                unused = self._zero_unused(set(), time.sleep)
                until = time.monotonic() + STILL_SECONDS
                while first < end and time.monotonic() < until:
                    self._zero_pages(range(first, min(first + BATCH_PAGES, end)), unused)
                    first += BATCH_PAGES
                    time.sleep(PAUSE_SECONDS)
            os.fdatasync(self._file)

    def catch_up(self) -> None:
        """Zero what was written meanwhile, until that is little."""
        for _ in range(ROUNDS):
            self._again |= self._written()
            if len(self._again) <= LEFT_AT_THE_END // 2:
                break
            with self._still():
                self._zero_again(time.sleep)
            os.fdatasync(self._file)

    def finish(self, insists: bool) -> bool:
        """Zero what is left; to be called while nobody writes and the journal is empty. False where that is too much."""
        self._again |= self._written()
        if len(self._again) > LEFT_AT_THE_END and not insists:
            return False
        self._zero_again(lambda seconds: None)
        os.fdatasync(self._file)
        return True

    def _zero_again(self, pause: Callable[[float], None]) -> None:
        again, self._again = self._again, set()
        unused = self._zero_unused(again, pause)
        # A chain's page may be written without the page in which its row begins.
        again |= {self._begins[number] for number in again & self._begins.keys()}
        done = 0
        for run in _runs(sorted(number for number in again - unused if number <= self._pages)):
            self._zero_pages(run, unused)
            done += len(run)
            if done >= BATCH_PAGES:
                done = 0
                pause(PAUSE_SECONDS)

    def _zero_unused(self, again: set[int], pause: Callable[[float], None]) -> set[int]:
        """Empty the pages nobody uses; which those are."""
        first_page = self._read(1)
        self._pages = check_layout(first_page)
        self._window = (0, bytearray())  # the file may have changed since it stood still
        wanted = dict(unused_pages(first_page, self._read))
        waiting = sorted(number for number in wanted if number not in self._zeroed or number in again)
        done = 0
        for run in _runs(waiting):
            found = self._read(run[0], len(run))
            if found != (zeros := b"".join([wanted[number] for number in run])):
                self._write(run[0], zeros)
            done += len(run)
            if done >= BATCH_PAGES:
                done = 0
                pause(PAUSE_SECONDS)
        self._zeroed = set(wanted)
        return self._zeroed

    def _zero_pages(self, numbers: Sequence[int], unused: set[int]) -> None:
        """Those pages, which follow each other."""
        stretch = self._read(numbers[0], len(numbers))
        clean: dict[int, bytes] = {}
        chains: list[tuple[int, int, int]] = []
        for at, number in enumerate(numbers):
            page = stretch[at * PAGE_BYTES : (at + 1) * PAGE_BYTES]
            if number in unused or number == LOCK_PAGE:
                continue
            if ranges := free_ranges(page, number):
                clean[at] = without(page, ranges)
            chains += [(number, *chain) for chain in overflows(page, number)]
        if clean:
            first, last = min(clean), max(clean)  # in one write: each gives up the interpreter's lock
            for at in range(first, last + 1):
                clean.setdefault(at, stretch[at * PAGE_BYTES : (at + 1) * PAGE_BYTES])
            self._write(numbers[first], b"".join([clean[at] for at in range(first, last + 1)]))
        for row, begin, size in chains:
            for number, page, end in chain_of(begin, size, self._pages, self._read_near):
                if end < PAGE_BYTES:
                    self._begins[number] = row
                    if page[end:].strip(b"\0"):
                        self._write(number, without(page, [(end, PAGE_BYTES)]))

    def _read_near(self, number: int) -> bytes:
        """One page of a chain; its neighbours are likely to be asked for next, within the same stillness."""
        first, pages = self._window
        at = (number - first) * PAGE_BYTES
        if not 0 <= at < len(pages):
            count = min(BATCH_PAGES, self._pages - number + 1)
            self._window, at = (number, bytearray(self._read(number, count))), 0
        return bytes(self._window[1][at : at + PAGE_BYTES])

    def _read(self, number: int, count: int = 1) -> bytes:
        pages = os.pread(self._file, count * PAGE_BYTES, (number - 1) * PAGE_BYTES)
        if len(pages) != count * PAGE_BYTES:
            raise UnknownLayout(f"page {number} is not there")
        return pages

    def _write(self, number: int, pages: bytes) -> None:
        first, window = self._window
        if first < number + len(pages) // PAGE_BYTES and number < first + len(window) // PAGE_BYTES:
            self._window = (0, bytearray())
        if os.pwrite(self._file, pages, (number - 1) * PAGE_BYTES) != len(pages):
            raise OSError(errno.EIO, "a page was written in part")


def _runs(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Those of ascending numbers that follow each other, at most a batch of them."""
    run: list[int] = []
    for number in numbers:
        if run and (number != run[-1] + 1 or len(run) == BATCH_PAGES):
            yield run
            run = []
        run.append(number)
    if run:
        yield run


class Written:
    """Which pages the commits since `begin` wrote, out of the journal. Used where commits are made, but for `take`.

    Source: sqlite.org/fileformat2.html, section 4.1.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._guard = threading.Lock()
        self._file = -1
        self._salts = b""
        self._seen = 0
        self._pages: set[int] = set()
        self.frames = 0  # in the journal, after the last commit

    def begin(self) -> None:
        """Note what is written from now on."""
        self.end()
        self._file = os.open(self._journal, os.O_RDONLY | os.O_CLOEXEC)
        self._salts, self._seen = self._read_salts(), self.frames

    def note(self) -> None:
        """After a commit: its pages. A journal that was begun anew has other salts in its head."""
        if self._file < 0:
            return
        salts = self._read_salts()
        at = self._seen if salts == self._salts else 0
        self._salts, self._seen = salts, self.frames
        while at < self.frames:
            count = min(self.frames - at, FRAMES_AT_ONCE)
            frames = os.pread(self._file, count * _FRAME_BYTES, _HEAD_BYTES + at * _FRAME_BYTES)
            numbers = [int.from_bytes(frames[i : i + 4], "big") for i in range(0, len(frames), _FRAME_BYTES)]
            with self._guard:
                self._pages.update(numbers)
            at += count

    def take(self) -> set[int]:
        """What was noted since the last call."""
        with self._guard:
            taken, self._pages = self._pages, set()
        return taken

    def end(self) -> None:
        """Note no more."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._pages = -1, set()

    def _read_salts(self) -> bytes:
        return os.pread(self._file, 8, 16)
