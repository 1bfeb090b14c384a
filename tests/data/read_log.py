#!/usr/bin/env python3
"""Prints the live changes of an intent log. Written from docs/log-format.md alone, to check that page: read_log.py LOG

Checks checksums if the package xxhash is installed. Leaves out the check for an old superblock in a lone slot."""

import os
import struct
import sys

try:
    from xxhash import xxh3_64_intdigest as checksum
except ImportError:
    print("the package xxhash is missing: checksums are not checked", file=sys.stderr)
    checksum = None

KIB = 1024
AREA = 128 * KIB


def fits(found, data):
    return checksum is None or found == checksum(data)


def superblock(slot):
    magic, found, version, block, id, inode, length = struct.unpack_from("<8sQII16sQQ", slot)
    if magic != b"RBLTLOG\n" or not fits(found, slot[16:256]):
        return None
    if version != 1:
        sys.exit(f"the log has version {version}")
    names = "generation state zero epoch first start_offset start end_offset end floor".split()
    fields = dict(zip(names, struct.unpack_from("<QIIQQQQQQQ", slot, 56)))
    if block not in [2**n for n in range(12, 17)] or fields["state"] not in (1, 2, 3):
        return None
    for offset, sequence in (("start_offset", "start"), ("end_offset", "end"))[: 2 if fields["state"] == 3 else 1]:
        if not AREA <= fields[offset] <= length or fields[offset] % block or not 1 <= fields[sequence] <= 2**62:
            return None
    return fields | {"block": block, "id": id, "inode": inode, "length": length}


def changes(body, count):
    at = 104
    for _ in range(count):
        kind, _, key_length, length = struct.unpack_from("<BBHI", body, at)
        version, mode, uid, gid, _ = struct.unpack_from("<QIIII", body, at + 8) if kind == 1 else [None] * 5
        at += 32 if kind == 1 else 8
        key, value = body[at : at + key_length].decode(), body[at + key_length : at + key_length + length]
        at += key_length + length
        yield {1: "put", 2: "delete", 3: "file-rules"}[kind], key, version, mode, uid, gid, value
    assert at == len(body), "the changes fill the body"


def record(log, offset, of):
    """The record at an offset as sequence, epoch, the start that it knew, length and changes."""
    if offset + of["block"] > len(log) or log[offset : offset + 8] != b"RBLTREC\n":
        return None
    found, body, length, id, epoch, sequence, here = struct.unpack_from("<QII16sQQQ", log, offset + 8)
    start, _, _, _, count, _ = struct.unpack_from("<QQQQII", log, offset + 64)
    most = (of["length"] - AREA) // 8 // of["block"] * of["block"]
    padded = -(-body // of["block"]) * of["block"]
    if body < 104 or length != padded or length > most or offset + length > len(log) or (id, here) != (of["id"], offset):
        return None
    if not fits(found, log[offset + 16 : offset + body]):
        return None
    return sequence, epoch, start, length, list(changes(log[offset : offset + body], count))


def live(log, of):
    offset, sequence = of["start_offset"], of["start"]
    while of["state"] != 1:
        for place in (offset, AREA):
            found = record(log, place, of)
            if found and found[:2] == (sequence, of["epoch"]):
                break
        else:
            break
        yield found
        offset, sequence = place + found[3], sequence + 1
        if of["state"] == 3 and (offset, sequence) == (of["end_offset"], of["end"]):
            return
    everything = [found for at in range(AREA, len(log), of["block"]) if (found := record(log, at, of))]
    later = any(found[1] == of["epoch"] and found[0] > sequence for found in everything)
    if of["state"] == 3 or of["state"] == 2 and (sequence == of["first"] or later):
        sys.exit(f"record {sequence} is damaged")


with open(sys.argv[1], "rb") as file:
    log, inode = file.read(), os.fstat(file.fileno()).st_ino
slots = [superblock(log[at : at + 256]) for at in (0, 64 * KIB)]
of = max(filter(None, slots), key=lambda found: found["generation"], default=None) or sys.exit("no valid superblock")
assert of["length"] == len(log) and (of["inode"] == inode or of["state"] == 1), "cut, or a copy"
print({1: "clean", 2: "running", 3: "recovering"}[of["state"]], "generation", of["generation"], f"epoch {of['epoch']:016x}")
for sequence, _, _, _, found in live(log, of):
    for kind, key, version, mode, uid, gid, value in found:
        print(sequence, kind, repr(key), version, mode and f"{mode:04o}", uid, gid, value)
