/* wire_driver.c - the firmware's frames on a desk.
 *
 *     wire_driver decode          bytes on standard input -> "frame ..." and "damaged" lines
 *     wire_driver encode          one line "kind status session sequence credit payload-in-hex" -> bytes
 *     wire_driver fuzz N SEED     N random byte strings; after each a good frame must be found */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

enum { ROOM = WIRE_HEAD + 65535 + WIRE_TAIL };

static uint8_t buffer[ROOM], raw[ROOM], line[2 * ROOM];
static uint32_t n_line;

static void to_stdout(const uint8_t *bytes, uint32_t n) { fwrite(bytes, 1, n, stdout); }

static void to_line(const uint8_t *bytes, uint32_t n)
{
    memcpy(line + n_line, bytes, n);
    n_line += n;
}

static int decode(void)
{
    wire_decoder d;
    wire_frame f;
    int byte;
    wire_start(&d, buffer, sizeof buffer);
    while ((byte = getchar()) != EOF) {
        int found = wire_feed(&d, (uint8_t)byte, &f);
        uint32_t i;
        if (found == WIRE_DAMAGED)
            printf("damaged\n");
        if (found != WIRE_FRAME)
            continue;
        printf("frame %u %u %u %u %u ", f.kind, f.status, f.session, f.sequence, f.credit);
        for (i = 0; i < f.length; i++)
            printf("%02x", f.payload[i]);
        printf("\n");
    }
    return 0;
}

static int encode(void)
{
    unsigned kind, status, session, sequence, credit, byte;
    uint32_t n = 0;
    static char hex[2 * 65535 + 2];
    if (scanf("%u %u %u %u %u", &kind, &status, &session, &sequence, &credit) != 5)
        return 2;
    if (scanf(" %131070s", hex) != 1)
        hex[0] = 0;
    while (sscanf(hex + 2 * n, "%2x", &byte) == 1)
        raw[WIRE_HEAD + n++] = (uint8_t)byte;
    wire_send(raw, wire_seal(raw, (uint8_t)kind, (uint8_t)status, (uint16_t)session, (uint16_t)sequence, (uint16_t)credit,
                             (uint16_t)n), to_stdout);
    return 0;
}

static uint32_t seed;

static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static int fuzz(long count)
{
    /* As much room as a small board has, so that overlong frames are met as well. */
    static uint8_t small[WIRE_HEAD + 96 + WIRE_TAIL];
    wire_decoder d;
    wire_frame f;
    wire_start(&d, small, sizeof small);
    while (count--) {
        uint32_t i, n = draw() % 300, payload = draw() % 96, found = 0;
        uint32_t style = draw() % 4;
        for (i = 0; i < n; i++) {
            uint8_t byte = style == 0 ? (uint8_t)draw() : style == 1 ? (uint8_t)(draw() % 3) : style == 2 ? 0xFF : (uint8_t)(1 + draw() % 255);
            wire_feed(&d, byte, &f);
        }
        for (i = 0; i < payload; i++)
            raw[WIRE_HEAD + i] = (uint8_t)(draw() % 5 ? draw() : 0);
        n_line = 0;
        wire_send(raw, wire_seal(raw, 6, 0, 77, (uint16_t)count, 0, (uint16_t)payload), to_line);
        for (i = 0; i < n_line; i++)
            if (wire_feed(&d, line[i], &f) == WIRE_FRAME && f.session == 77 && f.sequence == (uint16_t)count &&
                f.length == payload && memcmp(f.payload, raw + WIRE_HEAD, payload) == 0)
                found = 1;
        if (!found) {
            fprintf(stderr, "no frame after string %ld\n", count);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "decode"))
        return decode();
    if (argc > 1 && !strcmp(argv[1], "encode"))
        return encode();
    if (argc > 3 && !strcmp(argv[1], "fuzz")) {
        seed = (uint32_t)strtoul(argv[3], NULL, 10);
        return fuzz(atol(argv[2]));
    }
    return 2;
}
