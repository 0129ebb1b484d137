"""``proxybench doctor``: the abilities of this machine, as the command line asks for them."""

from proxybench.targets.lab.abilities import examine

__all__ = ["examine"]
