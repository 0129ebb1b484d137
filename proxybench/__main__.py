"""``python -m proxybench``, and what the command ``proxybench`` calls."""

from proxybench.interrupts import Interrupter


def main() -> None:
    """Run the program; never returns. What takes time to import comes after the signals are taken over."""
    Interrupter.install()
    from proxybench.cli.main import entry  # noqa: PLC0415 - see above

    entry()


if __name__ == "__main__":
    main()
