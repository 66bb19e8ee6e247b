"""`python -m anthem_search` is the command `anthem`."""

from anthem_core.cli import main

if __name__ == "__main__":
    main(prog_name="anthem")
