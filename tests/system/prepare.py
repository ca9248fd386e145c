"""Creates integrations in the simulator: `kinds` creates those of kinds.py, COUNT creates that number of ACTIVE integrations.

Usage: prepare.py SIMULATOR (kinds | COUNT)
"""

import sys

import kinds
from checks import finish, replace_integrations


def main():
    if sys.argv[2] == "kinds":
        replace_integrations(kinds.INTEGRATIONS)
    else:
        replace_integrations([kinds.integration(number, "ACTIVE") for number in range(int(sys.argv[2]))])
    finish()


if __name__ == "__main__":
    main()
