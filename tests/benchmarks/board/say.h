/* say.h - what a program on an emulated board says to its port, for programs of tests. */
#ifndef TESTS_SAY_H
#define TESTS_SAY_H

#include "port.h"

static inline void say(const char *text)
{
    uint32_t n = 0;
    while (text[n])
        n++;
    port_write((const uint8_t *)text, n);
}

static inline void say_number(uint64_t v)
{
    char digits[22];
    int at = 21;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    say(" ");
    say(digits + at);
}

#endif
