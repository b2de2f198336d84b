"""``python -m relay``: the front door by another path. It must not know anything but the door."""

from relay.cli import main

if __name__ == "__main__":
    main()
