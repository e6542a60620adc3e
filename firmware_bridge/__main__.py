"""``python -m firmware_bridge``: the command line, as ``firmware-bridge``."""

from firmware_bridge.cli import main

if __name__ == "__main__":
    main()
