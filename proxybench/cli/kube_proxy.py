"""``proxybench kube-proxy``: releases of kube-proxy in the cache."""

from __future__ import annotations

import click

from proxybench.cli.terminal import print_json
from proxybench.errors import UsageError
from proxybench.releases.component import Component, exact_version
from proxybench.releases.ensure import OFFICIAL, URL_VARIABLE, Source, Surroundings, ensure
from proxybench.releases.store import Binary, Store

_MB = 1_000_000


@click.group("kube-proxy")
def kube_proxy() -> None:
    """Get, list and remove releases of kube-proxy.

    A run gets what it needs by itself; this is for doing it before, and for tidying up.
    """


@kube_proxy.command(
    epilog="Examples: proxybench kube-proxy get v1.37.2; proxybench kube-proxy get 1.33.13 1.37.2 --source go. "
    "The cache is ~/.cache/proxybench, or PROXYBENCH_CACHE. Exit codes: 2 not available, 3 the transfer failed."
)
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
@click.option("--arch", help="Architecture, such as arm64.  [default: this machine's]")
@click.option(
    "--base-url",
    help=f"A mirror of {OFFICIAL}: BASE/release/VERSION/bin/linux/ARCH/kube-proxy and .sha512 beside it. "
    f"{URL_VARIABLE} does the same.",
)
@click.option(
    "--source",
    type=click.Choice([str(source) for source in Source]),
    default=str(Source.AUTO),
    show_default=True,
    help="release: download it. go: build it as a Go module, which takes Go and minutes. auto: the first that works.",
)
def get(versions: tuple[str, ...], arch: str | None, base_url: str | None, source: str) -> None:
    """Put releases of kube-proxy into the cache, and print where they are.

    A release is downloaded with its published SHA-512; where that cannot be, it is built as a Go module. A download
    that broke off goes on where it was.
    """
    for version in [exact_version(Component.KUBE_PROXY, version) for version in versions]:
        binary = ensure(
            Component.KUBE_PROXY, version, report=_report, base_url=base_url, arch=arch, source=Source(source)
        )
        click.echo(binary.path)


@kube_proxy.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """Show what the cache holds, and where each program came from."""
    binaries = _store().all()
    if as_json:
        print_json([_as_json(binary) for binary in binaries])
    elif not binaries:
        click.echo("the cache holds no kube-proxy; `proxybench kube-proxy get VERSION` gets one")
    else:
        _print(binaries)


@kube_proxy.command()
@click.argument("version", required=False)
@click.option("--all", "everything", is_flag=True, help="All versions, and what broken downloads and builds left.")
def remove(version: str | None, everything: bool) -> None:
    """Remove a version from the cache, in all architectures; VERSION as ``list`` shows it."""
    if everything == bool(version):
        raise UsageError("name a version, or --all for all of them; `proxybench kube-proxy list` shows them")
    store = _store()
    chosen = [binary for binary in store.all() if everything or _is(binary, version or "")]
    if not chosen and not everything:
        raise UsageError(f"the cache holds no {version}; `proxybench kube-proxy list` shows what it holds")
    for binary in chosen:
        size = binary.size
        store.remove(binary)
        click.echo(f"removed {binary.component} {binary.version} ({binary.arch}): {size / _MB:.0f} MB")
    if everything:
        store.remove_rests()


def _store() -> Store:
    return Store(Surroundings().root)


def _report(line: str) -> None:
    click.echo(line, err=True)


def _is(binary: Binary, version: str) -> bool:
    return binary.version in {version, f"v{version}"}


def _print(binaries: tuple[Binary, ...]) -> None:
    """Write aligned columns, never cut: a path that is cut is of no use."""
    rows = [("component", "version", "arch", "size", "source", "path")]
    for binary in binaries:
        built = f" ({binary.go})" if binary.go else ""
        size = f"{binary.size / _MB:.0f} MB"
        row = (binary.component, binary.version, binary.arch, size, f"{binary.source}{built}", str(binary.path))
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _as_json(binary: Binary) -> dict[str, object]:
    return {
        "component": binary.component,
        "version": binary.version,
        "arch": binary.arch,
        "source": binary.source,
        "go": binary.go,
        "sha512": binary.sha512,
        "size": binary.size,
        "path": str(binary.path),
    }
