"""``python -m magicapture``: the command line."""

from magicapture.cli import main

if __name__ == "__main__":
    main()
