from pathlib import Path

import pytest

from driftstack_cluster.errors import Precondition
from driftstack_cluster.image_base import command, debian_sources, inherited_options

LISTING = """\
Debian\tbookworm\tmain\thttp://mirror.test/debian/
Debian\tbookworm\tcontrib\thttp://mirror.test/debian/
Debian\tbookworm-updates\tmain\thttp://mirror.test/debian/
Debian\tbookworm-security\tmain\thttp://mirror.test/debian-security/
Somebody\tbookworm\tmain\thttp://vendor.test/
\tnodistro\tmain\thttp://other.test/
"""


def test_debians_own_sources_of_the_release_are_taken() -> None:
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert debian_sources(LISTING) == [
        f"deb {keyring} http://mirror.test/debian/ bookworm main",
        f"deb {keyring} http://mirror.test/debian/ bookworm-updates main",
        f"deb {keyring} http://mirror.test/debian-security/ bookworm-security main",
    ]


@pytest.mark.parametrize(
    "listing",
    [
        "",
        "\n".join(line for line in LISTING.splitlines() if "security" not in line),
        LISTING.replace("bookworm-security", "trixie-security"),
        LISTING.replace("bookworm-security\tmain", "bookworm-security\tcontrib"),
    ],
    ids=["no sources", "no security", "another release", "another component"],
)
def test_without_the_security_archive_the_error_names_it(listing: str) -> None:
    with pytest.raises(Precondition, match=r"bookworm-security") as caught:
        debian_sources(listing)
    assert "apt-get update" in caught.value.hint


def test_only_what_reaches_the_archive_is_inherited() -> None:
    dump = """\
Acquire "";
Acquire::http::Proxy "http://proxy.test:3128";
Acquire::Check-Date "false";
Acquire::GzipIndexes "true";
APT::Install-Recommends "true";
"""
    assert inherited_options(dump) == [
        'Acquire::http::Proxy "http://proxy.test:3128";',
        'Acquire::Check-Date "false";',
    ]


def test_options_and_sources_reach_mmdebstrap_in_its_order() -> None:
    words = command(Path("/scratch/base.tar"), ["deb a", "deb b"], ["Acquire::X y;"])
    assert words[0] == "mmdebstrap"
    assert "--aptopt=Acquire::X y;" in words
    assert words[-4:] == ["bookworm", "/scratch/base.tar", "deb a", "deb b"]
