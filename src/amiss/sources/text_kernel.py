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
_STEP = np.uint64(1)


class Texts(NamedTuple):
    """Texts and their numbers 0..n-1 in order of first appearance, as arrays that compiled passes add to.

    A text takes 16 bytes, its own bytes in whole words, and two to four slots of 8 bytes.
    """

    slots: npt.NDArray[np.uint64]
    """Upper half of the hash above the number + 1; 0 where free."""
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
        np.zeros(slots, np.uint64),
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


@compiled
def fill_slots(texts):
    """Give every text of a table whose slots are free its slot."""
    mask = np.uint64(len(texts.slots) - 1)
    for number in range(texts.used[0]):
        first, size = texts.spans[number] >> 16, texts.spans[number] & 0xFFFF
        hashed = np.uint64(texts.used[2] ^ size)
        for i in range(first, first + (size + 7) // 8):
            hashed = mixed(hashed, texts.words[i])
        slot = hashed & mask
        while texts.slots[np.int64(slot)] != 0:
            slot = (slot + _STEP) & mask
        texts.slots[np.int64(slot)] = (hashed & ~_LOW) | np.uint64(number + 1)


def is_full(texts: Texts) -> bool:
    """Whether a text might not fit any more."""
    return bool(texts.used[0] >= len(texts.spans) or texts.used[1] + TEXT_BYTES // 8 >= len(texts.words))


@part
def has_room(texts):
    """Whether one more text is sure to fit."""
    return texts.used[0] < len(texts.spans) and texts.used[1] + TEXT_BYTES // 8 < len(texts.words)


@part
def number_of(data, at, size, texts, line):
    """The number of a text; a new one is added, and there must be room for it."""
    hashed = np.uint64(texts.used[2] ^ size)
    words, rest = size >> 3, size & 7
    for i in range(words):
        hashed = mixed(hashed, load(data, at + 8 * i))
    last = np.uint64(0)
    if rest:
        last = load(data, at + 8 * words) & tail(rest)
        hashed = mixed(hashed, last)
    mask = np.uint64(len(texts.slots) - 1)
    slot = hashed & mask
    while True:
        held = texts.slots[np.int64(slot)]
        if held == 0:
            break
        if (held ^ hashed) & ~_LOW == 0:
            number = np.int64(held & _LOW) - 1
            span = texts.spans[number]
            if span & 0xFFFF == size:
                first = span >> 16
                same = rest == 0 or texts.words[first + words] == last
                for i in range(words):
                    same = same and texts.words[first + i] == load(data, at + 8 * i)
                if same:
                    return number
        slot = (slot + _STEP) & mask
    number, first = texts.used[0], texts.used[1]
    texts.slots[np.int64(slot)] = (hashed & ~_LOW) | np.uint64(number + 1)
    texts.spans[number] = (first << 16) | size
    texts.born[number] = line
    for i in range(words):
        texts.words[first + i] = load(data, at + 8 * i)
    if rest:
        texts.words[first + words] = last
    texts.used[0] = number + 1
    texts.used[1] = first + words + (1 if rest else 0)
    return number
