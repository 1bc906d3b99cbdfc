"""The authority repairs what is missing, damaged, near its end or somebody else's."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509

from driftstack_cluster import certificates, credentials
from driftstack_cluster.certificates import Authority, Subject
from driftstack_cluster.layout import Layout

SERVER = Subject("api", "kube-apiserver", names=("localhost", "10.96.0.1"))
ADMIN = Subject("admin", "kubernetes-admin", "system:masters")


def _read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_a_server_has_its_names_and_is_signed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    certificate = _read(authority.issue(SERVER)[0])

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["localhost", "10.96.0.1"]
    certificate.verify_directly_issued_by(authority.certificate)


def test_a_client_has_its_group_and_a_private_key(tmp_path: Path) -> None:
    certificate_file, key_file = Authority(tmp_path).issue(ADMIN)

    assert _read(certificate_file).subject.rfc4514_string() == "CN=kubernetes-admin,O=system:masters"
    assert key_file.stat().st_mode & 0o777 == 0o600


def test_nothing_changes_the_second_time(tmp_path: Path) -> None:
    before = Authority(tmp_path).issue(SERVER)[0].read_bytes()

    assert Authority(tmp_path).issue(SERVER)[0].read_bytes() == before


@pytest.mark.parametrize("damage", ["", "garbage"])
@pytest.mark.parametrize("file", ["api.crt", "api.key"])
def test_a_half_written_pair_is_issued_anew(tmp_path: Path, file: str, damage: str) -> None:
    Authority(tmp_path).issue(SERVER)
    (tmp_path / file).write_text(damage)

    authority = Authority(tmp_path)
    certificate = _read(authority.issue(SERVER)[0])

    certificate.verify_directly_issued_by(authority.certificate)


def test_another_authority_means_new_leaves(tmp_path: Path) -> None:
    Authority(tmp_path).issue(SERVER)
    (tmp_path / "ca.key").unlink()

    authority = Authority(tmp_path)

    _read(authority.issue(SERVER)[0]).verify_directly_issued_by(authority.certificate)


def test_other_names_mean_a_new_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    before = authority.issue(SERVER)[0].read_bytes()

    after = authority.issue(Subject("api", "kube-apiserver", names=("localhost", "10.254.0.2")))[0].read_bytes()

    assert after != before


def test_a_leaf_near_its_end_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_LEAF_DAYS", 20)
    short = _read(Authority(tmp_path).issue(SERVER)[0])
    monkeypatch.undo()

    renewed = _read(Authority(tmp_path).issue(SERVER)[0])

    assert renewed.not_valid_after_utc - short.not_valid_after_utc > datetime.timedelta(days=300)


def test_a_kubeconfig_holds_all_it_needs(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = credentials.Pair(*authority.issue(ADMIN))

    content = credentials.kubeconfig(Layout().api_url, authority.certificate_file, pair)

    assert str(tmp_path) not in str(content)
    assert content["current-context"] == "driftstack"
