/* host.c - the application as a process: bytes on standard input and output, a pipe or a pseudo-terminal.
 *
 *     bridge-host [PLAN]      PLAN stands for what a board would have in its flash */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "../app.h"
#include "../port.h"

enum { PLAN_ROOM = 16 << 20 };

const port_facts port = {BRIDGE_TARGET, 0, 1000000000u, TICKS_NANOSECONDS, 1};

static uint8_t waiting[65536], sending[65536];
static size_t n_waiting, at, n_sending;
static uint8_t plan[PLAN_ROOM] __attribute__((aligned(64)));
static uint32_t plan_size;
static char **arguments;

void port_start(void)
{
    struct termios t;
    if (isatty(0) && tcgetattr(0, &t) == 0) {
        t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
        t.c_oflag &= ~(tcflag_t)OPOST;
        t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
        t.c_cflag = (t.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
        tcsetattr(0, TCSANOW, &t);
    }
}

int port_read(void) { return at < n_waiting ? waiting[at++] : -1; }

uint32_t port_overruns(void) { return 0; }

/* Ends with its host: there is nobody else to serve. */
void port_wait(void)
{
    ssize_t n = read(0, waiting, sizeof waiting);
    if (n <= 0)
        exit(0);
    at = 0;
    n_waiting = (size_t)n;
}

void port_write(const uint8_t *bytes, uint32_t n)
{
    while (n) {
        size_t part = sizeof sending - n_sending < n ? sizeof sending - n_sending : n;
        memcpy(sending + n_sending, bytes, part);
        n_sending += part;
        bytes += part;
        n -= (uint32_t)part;
        if (n)
            port_flush();
    }
}

void port_flush(void)
{
    size_t done = 0;
    while (done < n_sending) {
        ssize_t n = write(1, sending + done, n_sending - done);
        if (n <= 0)
            exit(0);
        done += (size_t)n;
    }
    n_sending = 0;
}

uint64_t port_ticks(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const uint8_t *port_plan(uint32_t *size)
{
    *size = plan_size;
    return plan_size ? plan : NULL;
}

uint32_t port_stack_used(void) { return 0; }
uint32_t port_stack_size(void) { return 0; }

void port_reset(void)
{
    execv("/proc/self/exe", arguments);
    exit(3);
}

int main(int argc, char **argv)
{
    arguments = argv;
    if (argc > 1) {
        FILE *file = fopen(argv[1], "rb");
        if (!file) {
            fprintf(stderr, "bridge-host: %s cannot be read\n", argv[1]);
            return 2;
        }
        plan_size = (uint32_t)fread(plan, 1, sizeof plan, file);
        fclose(file);
    }
    port_start();
    app_run();
}
