/* protocol.h - the numbers that both ends know; also in messages.py, and explained in PROTOCOL.md. */
#ifndef BRIDGE_PROTOCOL_H
#define BRIDGE_PROTOCOL_H

#define BRIDGE_PROTOCOL 1u

enum {
    HELLO = 1, BEGIN, CHUNK, COMMIT, READ, PUSH, FLUSH, RESET, SNAPSHOT, TAP, STATS, FAULT, RESTART,
    LOG = 0x40, DAMAGED = 0x41, REPLY = 0x80
};

enum { /* of a reply */
    OK = 0, NO_SESSION, UNKNOWN, MALFORMED, GAP, NO_MODEL, TOO_BIG, HASH, CORE, OFFSET, NO_OBJECT, UNSUPPORTED
};

enum { OBJECT_PLAN = 0, OBJECT_SNAPSHOT, OBJECT_INPUT, OBJECT_OUTPUT, OBJECT_TAP };

enum { CAN_LOAD = 1, CAN_SNAPSHOT = 2, CAN_TAP = 4, CAN_FAULT = 8, CAN_RESTART = 16, PLAN_IN_FLASH = 32,
       CAN_FLUSH = 64 };

enum { HASH_BYTES = 32 };

#endif
