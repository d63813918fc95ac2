"""Hold the SQL of a store's index: which file has which content, which content lies in which slot.

It is SQLite and no manifest that is read whole, because 1,000 of 300,000 images are found in 0.04 s instead of 1.1 s
(all of them in 1.9 s instead of 1.0 s), and its transactions are what survives a kill.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from pathlib import Path

WAIT_SECONDS = 60  # for another process's commit
SCHEMA = """
CREATE TABLE about (token TEXT NOT NULL);
CREATE TABLE slots (pixels BLOB PRIMARY KEY, kind INTEGER NOT NULL, slot INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE contents (
    hash BLOB PRIMARY KEY, kind INTEGER NOT NULL, slot INTEGER NOT NULL, remark INTEGER NOT NULL, proof BLOB
) WITHOUT ROWID;
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hash BLOB NOT NULL, ctime_ns INTEGER, inode INTEGER
) WITHOUT ROWID;
"""
NEWER = """
BEGIN IMMEDIATE;
ALTER TABLE contents ADD COLUMN proof BLOB;
ALTER TABLE files ADD COLUMN ctime_ns INTEGER;
ALTER TABLE files ADD COLUMN inode INTEGER;
"""
WANTED = """
DROP TABLE IF EXISTS temp.wanted;
CREATE TEMP TABLE wanted (
    n INTEGER PRIMARY KEY, path TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER
);
"""
FOUND = """
SELECT n, kind, slot, hash, remark, proof
FROM wanted CROSS JOIN files USING (path, size, mtime_ns, ctime_ns, inode) CROSS JOIN contents USING (hash)
WHERE remark & ? = 0
"""
WANTED_CONTENTS = """
DROP TABLE IF EXISTS temp.wanted_contents;
CREATE TEMP TABLE wanted_contents (n INTEGER PRIMARY KEY, hash BLOB);
"""
FOUND_CONTENTS = """
SELECT n, kind, slot, hash, remark, proof FROM wanted_contents CROSS JOIN contents USING (hash) WHERE remark & ? = 0
"""
UNFIT = """
DELETE FROM contents WHERE (kind, slot) NOT IN (SELECT kind, slot FROM slots) OR length(hash) IS NOT 32
OR length(proof) IS NOT 16 OR typeof(remark) <> 'integer' OR remark NOT BETWEEN 0 AND 255
"""
FORGET = "DELETE FROM contents WHERE (hash, kind, slot) IN (SELECT hash, kind, slot FROM gone)"
SET_ASIDE = """
UPDATE OR REPLACE slots SET pixels = CAST('damaged ' || kind || '/' || slot AS BLOB)
WHERE (kind, slot) IN (SELECT kind, slot FROM gone) AND pixels NOT IN (SELECT pixels FROM gone)
"""

_checked: dict[str, sqlite3.Connection] = {}  # indexes of what this process decoded without a folder to keep it


def memory(name: str) -> sqlite3.Connection:
    """Return the index of what this process decoded in the way that has this name."""
    if name not in _checked:
        _checked[name] = created(":memory:")
    return _checked[name]


def proof(content_hash: bytes, pixels: bytes, kind: int, remark: int) -> bytes:
    """Return what a row of `contents` says in short: that this content has pixels of this SHA-256, kind and remark."""
    return hashlib.sha256(content_hash + pixels + bytes([kind, remark])).digest()[:16]


def tidy(index: sqlite3.Connection) -> None:
    """Bring an index to the form that lookups expect, and drop rows that no writer wrote.

    One of an earlier version lacks columns: its files are read once more, but no image is decoded again.
    """
    if "proof" not in {row[1] for row in index.execute("PRAGMA table_info(contents)")}:
        index.executescript(NEWER)
        # joined here: SQLite makes no index for the join of such tables, and takes minutes
        pixels = {(kind, slot): key[:32] for key, kind, slot in index.execute("SELECT pixels, kind, slot FROM slots")}
        known = index.execute("SELECT hash, kind, slot, remark FROM contents").fetchall()
        rows = [
            (proof(hash_, pixels[kind, slot], kind, remark), hash_)
            for hash_, kind, slot, remark in known
            if (kind, slot) in pixels
        ]
        index.executemany("UPDATE contents SET proof = ? WHERE hash = ?", rows)
    index.execute(UNFIT)
    index.commit()


def created(path: Path | str) -> sqlite3.Connection:
    """Make an index with a token of its own."""
    index = sqlite3.connect(path, WAIT_SECONDS, check_same_thread=False)
    index.executescript(SCHEMA)
    index.execute("INSERT INTO about VALUES (?)", (secrets.token_hex(8),))
    index.commit()
    return index


def token(index: sqlite3.Connection) -> str:
    """Return what tells this index from one that took its place."""
    return str(index.execute("SELECT token FROM about").fetchone()[0])
