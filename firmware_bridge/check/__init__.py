"""Board and host side by side: once (``run``), for hours (``soak``), behind a live stream (``shadow``)."""
