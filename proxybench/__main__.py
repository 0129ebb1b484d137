"""``python -m proxybench``: the same as ``proxybench``."""

from proxybench.cli.main import entry

if __name__ == "__main__":
    entry()
