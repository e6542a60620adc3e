"""What the daemon serves over HTTP: the page, health and metrics. Read-only: nothing that comes in changes the daemon.

    hub -> history (five minutes of each stream) -> viewer (one browser) -> message (bytes)

``server`` runs it in a thread of its own, ``guard`` decides who may ask, ``routes`` what is answered.
"""
