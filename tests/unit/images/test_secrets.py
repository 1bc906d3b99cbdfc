import stat
from pathlib import Path

import pytest

from driftstack_cluster import image_secrets
from driftstack_cluster.image_secrets import pip_configuration, write_secrets


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("", "[global]\n"),
        ("global.index-url='https://index.test/simple'", "[global]\nindex-url = https://index.test/simple\n"),
        ("global.cert='/etc/ca.crt'\nglobal.timeout='60'", "[global]\n"),
        (
            ":env:.index-url='https://env.test/'\nglobal.index-url='https://file.test/'",
            "[global]\nindex-url = https://env.test/\n",
        ),
        (
            "global.extra-index-url='https://one.test/ https://two.test/'",
            "[global]\nextra-index-url = https://one.test/\n  https://two.test/\n",
        ),
    ],
    ids=["nothing", "index", "certificate is given otherwise", "environment wins", "several"],
)
def test_pip_learns_the_indexes_of_this_machine(listing: str, expected: str) -> None:
    assert pip_configuration(listing) == expected


def test_secrets_are_readable_by_their_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("a certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setattr(image_secrets, "_pip_settings", lambda: "global.index-url='https://user:pw@index.test/'")
    secrets = write_secrets(tmp_path)
    assert secrets.certificates.read_text() == "a certificate"
    assert "user:pw" in secrets.pip.read_text()
    for path in (secrets.certificates, secrets.pip):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # The command line is visible to everyone on the machine: it holds paths only.
    assert secrets.arguments() == [
        f"--secret=id=ca,src={secrets.certificates}",
        f"--secret=id=pip,src={secrets.pip}",
    ]


def test_a_machine_without_a_bundle_gives_an_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_secrets, "_bundles", lambda: iter([tmp_path / "absent"]))
    monkeypatch.setattr(image_secrets, "_pip_settings", lambda: "")
    assert write_secrets(tmp_path).certificates.read_bytes() == b""
