/* app.h - the application: one model on the native core, driven by requests from the line. See docs/protocol.md. */
#ifndef BRIDGE_APP_H
#define BRIDGE_APP_H

#include "protocol.h"

/* Serves the line from here on; the port has been started. Never returns. */
void app_run(void);

/* A line of text for the host, beside the data, LOG_INFO or worse; at most 200 characters. */
void app_log(int level, const char *text);

#endif
