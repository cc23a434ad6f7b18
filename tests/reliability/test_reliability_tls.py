"""One set of options says which certificates are trusted, for what is sent and for what is scraped."""

import shutil
import ssl
import subprocess
import time

import pytest
from reliability.faults import answers_of, command, evaluate, fault, findings_of
from reliability.stand_in import StandIn, serving

from nemo_skills_specdec.engines.fetch import fetch
from nemo_skills_specdec.tls import tls_context

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by openssl")


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and certificates by it: a good one, one of another host, one that has expired."""
    folder = tmp_path_factory.mktemp("tls")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(folder, *new, "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, host, days in (("good", "IP:127.0.0.1", "2"), ("other", "DNS:other.example", "2")):
        make(folder, new, name, host, days)
    make(folder, new, "expired", "IP:127.0.0.1", "0")
    time.sleep(1.1)
    return folder


def make(folder, new, name, host, days):
    (folder / f"{name}.ext").write_text(f"subjectAltName={host}\n")
    openssl(folder, *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days, "-extfile", f"{name}.ext")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


def server_side(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


@fault(11, "a certificate of an own authority, `--ca-file`", "AL from the answers and the counters", 0, "all answers")
def test_a_certificate_of_ones_own_authority_is_trusted_on_both_roads(tmp_path, certificates):
    with serving(StandIn(), server_side(certificates, "good")) as url:
        done = evaluate(tmp_path, url, "--ca-file", str(certificates / "ca.pem"))
    assert done.code == 0, done.said
    assert answers_of(tmp_path / "run") == 6
    assert not {"tls_unchecked", "metrics_unavailable"} & set(findings_of(tmp_path / "run"))


@fault(11, "a certificate of an own authority, `SSL_CERT_FILE`", "AL from the answers", 0, "all answers")
def test_the_environment_names_an_authority_for_both_roads(tmp_path, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    with serving(StandIn(), server_side(certificates, "good")) as url:
        done = evaluate(tmp_path, url)
    assert done.code == 0, done.said
    assert "metrics_unavailable" not in findings_of(tmp_path / "run")


def refused(kind, what, reason):
    return pytest.param(
        kind, reason, marks=fault(11, what, f"`certificate that is not trusted ({reason}`", 2, "nothing was sent")
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        refused("other", "the certificate of another host", "IP address mismatch"),
        refused("expired", "an expired certificate", "certificate has expired"),
        refused("unknown", "a certificate of an unknown authority", "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_cannot_be_trusted_is_named(tmp_path, certificates, name, reason):
    state = StandIn()
    trusted = [] if name == "unknown" else ["--ca-file", str(certificates / "ca.pem")]
    with serving(state, server_side(certificates, "good" if name == "unknown" else name)) as url:
        done = evaluate(tmp_path, url, *trusted)
    assert done.code == 2
    assert f"certificate that is not trusted ({reason}" in done.err
    assert done.err.count("\n") == 1
    assert state.bodies == []


@fault(11, "`--insecure`", "`tls_unchecked` as a warning", 0, "all answers")
def test_an_unchecked_certificate_is_said_loudly(tmp_path, certificates):
    with serving(StandIn(), server_side(certificates, "expired")) as url:
        done = evaluate(tmp_path, url, "--insecure")
    assert done.code == 0, done.said
    assert findings_of(tmp_path / "run")["tls_unchecked"] == "warning"
    assert "--insecure" in done.out
    assert answers_of(tmp_path / "run") == 6


@fault(11, "`doctor` on an unknown authority", "`certificate that is not trusted`", 2, "-")
def test_doctor_names_the_problem_and_takes_the_same_options(certificates):
    with serving(StandIn(), server_side(certificates, "good")) as url:
        refused = command("doctor", url)
        trusted = command("doctor", url, "--ca-file", certificates / "ca.pem")
    assert refused.code == 2
    assert "certificate that is not trusted" in refused.err
    assert trusted.code == 0


@fault(
    11, "the metrics of another host than the certificate's", "`metrics_unavailable`, with the reason", 0, "all answers"
)
def test_the_road_of_the_metrics_is_checked_on_its_own(tmp_path, certificates):
    good, other = server_side(certificates, "good"), server_side(certificates, "other")
    ca = tls_context(certificates / "ca.pem")
    with serving(StandIn(), good) as chat, serving(StandIn(), other) as metrics:
        assert fetch(f"{chat}/metrics", tls=ca).status == 200
        wrong = fetch(f"{metrics}/metrics", tls=ca)
    assert wrong.status is None
    assert "IP address mismatch" in wrong.error


@fault(11, "plain HTTP where TLS was asked for", "`does not speak TLS`", 2, "nothing was sent")
def test_a_server_without_tls_is_told_from_one_that_is_not_trusted(tmp_path):
    with serving(StandIn()) as url:
        done = evaluate(tmp_path, url.replace("http:", "https:"))
    assert done.code == 2
    assert "does not speak TLS" in done.err


@fault(11, "`--ca-file` that is missing or no certificate", "`cannot read the certificates`", 2, "nothing was sent")
@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_file_of_certificates_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    done = evaluate(tmp_path, "https://127.0.0.1:1", "--ca-file", str(path))
    assert done.code == 2
    assert f"cannot read the certificates in {path}" in done.err


@fault(11, "`SSL_CERT_FILE` that is missing", "`SSL_CERT_FILE names`", 2, "nothing was sent")
def test_a_missing_file_in_the_environment_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    done = evaluate(tmp_path, "https://127.0.0.1:1")
    assert done.code == 2
    assert "SSL_CERT_FILE names" in done.err
