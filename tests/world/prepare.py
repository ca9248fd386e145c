"""Fills the simulator: `kinds` for one integration of each kind, a number for so many that all look alike.

Usage: prepare.py SIMULATOR (kinds | COUNT)
"""

import sys

import kinds
from world import finish, replace_world


def main():
    if sys.argv[2] == "kinds":
        replace_world(kinds.WORLD)
    else:
        replace_world([kinds.integration(number, "ACTIVE") for number in range(int(sys.argv[2]))])
    finish()


if __name__ == "__main__":
    main()
