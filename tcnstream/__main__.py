"""``python -m tcnstream``: the command line."""

from tcnstream.cli import main

if __name__ == "__main__":
    main()
