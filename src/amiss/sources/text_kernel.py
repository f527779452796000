"""A compiled table of texts: bytes in, the number of their first appearance out.

Import it late: it loads Numba. Texts come from logs, which attackers write: texts are compared byte by byte,
and the hash starts from a secret so that nobody can prepare texts that collide.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from amiss.sources.bytes_kernel import TEXT_BYTES, compiled, load, part, tail

_LOW = np.uint64(0xFFFFFFFF)
_HASH = np.uint64(0xFFFFFE0000000000)
_HALF = np.uint64(32)
_STEP = np.uint64(1)


class Texts(NamedTuple):
    """Texts and their numbers 0..n-1 in order of first appearance, as arrays that compiled passes add to.

    A text takes 16 bytes, its own bytes in whole words, and two to four slots of 16 bytes.
    """

    slots: npt.NDArray[np.uint64]
    """Two words a slot: 23 bits of the hash, 9 of the length, 32 of the number + 1; the first word of the text."""
    spans: npt.NDArray[np.int64]
    """Where a text begins (in words, times 65,536) and its length in bytes."""
    words: npt.NDArray[np.uint64]
    """The texts, each filled up with zeros to whole words."""
    born: npt.NDArray[np.int64]
    """The line on which each text appeared first, within its block."""
    used: npt.NDArray[np.int64]
    """How many texts there are, how many words they take, the secret."""


def empty_texts(room: int, words: int = 0) -> Texts:
    """A table with room for this many texts and words."""
    slots = 1 << max(6, (2 * room - 1).bit_length())
    room = slots // 2
    return Texts(
        np.zeros(2 * slots, np.uint64),
        np.empty(room, np.int64),
        np.empty(max(words, 4 * room), np.uint64),
        np.empty(room, np.int64),
        np.array([0, 0, secrets.randbits(63)]),
    )


def grown(texts: Texts) -> Texts:
    """The same texts with room for twice as many."""
    count, words, secret = texts.used
    larger = empty_texts(2 * len(texts.spans), 2 * len(texts.words))
    larger.spans[:count] = texts.spans[:count]
    larger.words[:words] = texts.words[:words]
    larger.born[:count] = texts.born[:count]
    larger.used[:] = count, words, secret
    fill_slots(larger)
    return larger


def texts_from(texts: Texts, first: int) -> list[bytes]:
    """The texts with numbers from `first` on."""
    raw = texts.words.view(np.uint8).data
    spans = texts.spans[first : texts.used[0]].tolist()
    return [bytes(raw[(span >> 16) * 8 : (span >> 16) * 8 + (span & 0xFFFF)]) for span in spans]


@part
def mixed(hashed, word):
    """The hash with one word more."""
    hashed = (hashed ^ word) * np.uint64(0x9E3779B97F4A7C15)
    return hashed ^ (hashed >> np.uint64(29))


@part
def tag(hashed, size):
    """The upper half of a slot."""
    return (hashed & _HASH) | (np.uint64(size) << _HALF)


@compiled
def fill_slots(texts):
    """Give every text of a table whose slots are free its slot."""
    mask = len(texts.slots) - 2
    for number in range(texts.used[0]):
        first, size = texts.spans[number] >> 16, texts.spans[number] & 0xFFFF
        hashed = np.uint64(texts.used[2] ^ size)
        for i in range(first, first + (size + 7) // 8):
            hashed = mixed(hashed, texts.words[i])
        slot = np.int64(hashed << _STEP) & mask
        while texts.slots[slot] != 0:
            slot = (slot + 2) & mask
        texts.slots[slot] = tag(hashed, size) | np.uint64(number + 1)
        texts.slots[slot + 1] = texts.words[first] if size else np.uint64(0)


def is_full(texts: Texts) -> bool:
    """Whether a text might not fit any more."""
    return bool(texts.used[0] >= len(texts.spans) or texts.used[1] + TEXT_BYTES // 8 >= len(texts.words))


@part
def has_room(texts):
    """Whether one more text is sure to fit."""
    return texts.used[0] < len(texts.spans) and texts.used[1] + TEXT_BYTES // 8 < len(texts.words)


@part
def equals(data, at, size, words, first):
    """Whether a text, whose first word is known to be equal, equals the one that starts at a word."""
    for i in range(1, size >> 3):
        if words[first + i] != load(data, at + 8 * i):
            return False
    rest = size & 7
    return rest == 0 or words[first + (size >> 3)] == load(data, at + size - rest) & tail(rest)


@part
def number_of(data, at, size, texts, line):
    """The number of a text; a new one is added, and there must be room for it."""
    hashed = np.uint64(texts.used[2] ^ size)
    start = load(data, at) if size >= 8 else load(data, at) & tail(size) if size else np.uint64(0)
    if size:
        hashed = mixed(hashed, start)
    for i in range(1, size >> 3):
        hashed = mixed(hashed, load(data, at + 8 * i))
    if size > 8 and size & 7:
        hashed = mixed(hashed, load(data, at + (size & ~7)) & tail(size & 7))
    mask = len(texts.slots) - 2
    wanted = tag(hashed, size)
    slot = np.int64(hashed << _STEP) & mask
    while texts.slots[slot] != 0:
        if texts.slots[slot] & ~_LOW == wanted and texts.slots[slot + 1] == start:
            number = np.int64(texts.slots[slot] & _LOW) - 1
            if size <= 8 or equals(data, at, size, texts.words, texts.spans[number] >> 16):
                return number
        slot = (slot + 2) & mask
    number = texts.used[0]
    texts.slots[slot] = wanted | np.uint64(number + 1)
    texts.slots[slot + 1] = start
    add(data, at, size, texts, line)
    return number


@part
def add(data, at, size, texts, line):
    """Keep a new text."""
    number, first = texts.used[0], texts.used[1]
    texts.spans[number] = (first << 16) | size
    texts.born[number] = line
    for i in range(size >> 3):
        texts.words[first + i] = load(data, at + 8 * i)
    if size & 7:
        texts.words[first + (size >> 3)] = load(data, at + (size & ~7)) & tail(size & 7)
    texts.used[0] = number + 1
    texts.used[1] = first + (size + 7) // 8
