"""The daemon as a service of systemd: the unit that a configuration needs, and how it comes onto a machine."""
