"""workers.guard against real sockets: what is resolved, checked and connected to."""

import datetime
import ssl
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import httpcore
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fix_web import Web, open_web

from engine.addresses import AllowList
from engine.config import Limits
from engine.errors import FetchRefusedAddress, FetchUnreachable, SourceError
from workers.fetch import Fetcher
from workers.guard import GuardedBackend, Resolve, resolve_name

pytestmark = pytest.mark.anyio

REFUSED = "The URL leads to an address that this engine does not fetch from."


class Names:
    """A resolver with a script: each question takes the next answer, the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.questions: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.questions.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def fetcher(
    *allow: str, resolve: Resolve = resolve_name, ssl_context: ssl.SSLContext | None = None
) -> Fetcher:
    return Fetcher(
        Limits(fetch_timeout_s=5.0),
        allow_list=AllowList.parse(allow),
        resolve=resolve,
        ssl_context=ssl_context or ssl.create_default_context(),
    )


async def refusal(fetching: Fetcher, url: str, folder: Path) -> SourceError:
    with pytest.raises(FetchRefusedAddress) as caught:
        await fetching.fetch_url(url, folder=folder)
    assert list(folder.iterdir()) == []
    return caught.value


async def test_localhost_is_refused_and_never_connected_to(web: Web, tmp_path: Path) -> None:
    web.add("/", body="secret")
    await refusal(fetcher(), web.url("/", host="localhost"), tmp_path)
    assert web.hits["/"] == 0


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "fe80::1%lo",
        "0.0.0.0",
    ],
)
async def test_a_name_that_resolves_to_a_forbidden_address_is_refused(
    address: str, web: Web, tmp_path: Path
) -> None:
    web.add("/", body="secret")
    names = Names([address])
    await refusal(fetcher(resolve=names), web.url("/", host="innocent.example"), tmp_path)
    assert names.questions == [("innocent.example", web.port)]
    assert web.hits["/"] == 0


async def test_one_forbidden_address_among_public_ones_refuses_the_name(
    web: Web, tmp_path: Path
) -> None:
    for answer in (["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"]):
        await refusal(fetcher(resolve=Names(answer)), web.url("/", host="mixed.example"), tmp_path)


async def test_a_name_is_resolved_once_so_a_changed_answer_changes_nothing(
    web: Web, other_web: Web, tmp_path: Path
) -> None:
    web.add("/", body="the checked one")
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    allowing = fetcher(f"rebind.example:{web.port}", resolve=names)
    fetched = await allowing.fetch_url(web.url("/", host="rebind.example"), folder=tmp_path)
    assert fetched.path.read_text() == "the checked one"
    assert len(names.questions) == 1


async def test_a_name_that_changes_its_answer_between_two_hops_is_refused(
    web: Web, tmp_path: Path
) -> None:
    url = web.url("/next", host="rebind.example")
    web.add("/", status=302, headers={"Location": url})
    web.add("/next", body="secret")
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    allowing = fetcher(f"rebind.example:{web.port}", resolve=names)
    await refusal(allowing, web.url("/", host="rebind.example"), tmp_path)
    assert (web.hits["/"], web.hits["/next"]) == (1, 0)


async def test_an_allowed_host_and_port_passes_while_another_port_is_refused(
    web: Web, other_web: Web, tmp_path: Path
) -> None:
    web.add("/", body="open")
    other_web.add("/", body="closed")
    allowing = fetcher(web.host_port)
    assert (await allowing.fetch_url(web.url("/"), folder=tmp_path)).byte_count == 4
    (tmp_path / "open").mkdir()
    await refusal(allowing, other_web.url("/"), tmp_path / "open")
    assert other_web.hits["/"] == 0


async def test_a_redirect_from_an_allowed_server_to_another_is_refused_with_the_same_code(
    web: Web, other_web: Web, tmp_path: Path
) -> None:
    allowing = fetcher(web.host_port)
    literal = await refusal(fetcher(), web.url("/"), tmp_path)
    for location in (
        other_web.url("/"),
        other_web.url("/", host="localhost"),
        f"//127.1:{other_web.port}/",
        f"http://0177.0.0.1:{other_web.port}/",
        f"http://[::ffff:127.0.0.1]:{other_web.port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.google.internal/",
    ):
        web.add("/", status=302, headers={"Location": location})
        redirected = await refusal(allowing, web.url("/"), tmp_path)
        assert (redirected.code, redirected.message) == (literal.code, literal.message)
    assert other_web.hits["/"] == 0


async def test_every_refusal_has_one_message_that_does_not_tell_the_address(
    tmp_path: Path,
) -> None:
    errors = [
        await refusal(fetcher(resolve=Names([address])), f"http://{host}/", tmp_path)
        for host, address in (("a.example", "10.1.2.3"), ("b.example", "::1"), ("127.1", "8.8.8.8"))
    ]
    assert {error.message for error in errors} == {REFUSED}


async def test_a_metadata_address_is_never_reached_even_when_the_list_names_it(
    tmp_path: Path,
) -> None:
    allow = ("0.0.0.0/0", "::/0", "169.254.169.254:80", "cloud.example:80")
    for address in ("169.254.169.254", "fd00:ec2::254", "::ffff:a9fe:a9fe", "100.100.100.200"):
        allowing = fetcher(*allow, resolve=Names([address]))
        await refusal(allowing, "http://cloud.example/latest/meta-data/", tmp_path)
    names = Names(["127.0.0.1"])
    await refusal(fetcher(*allow, resolve=names), "http://metadata.google.internal/", tmp_path)
    assert names.questions == []


async def test_the_next_address_is_tried_when_the_first_does_not_answer(
    web: Web, tmp_path: Path
) -> None:
    web.add("/", body="found")
    names = Names(["127.0.0.9", "::1", "127.0.0.1"])
    allowing = fetcher(f"several.example:{web.port}", resolve=names)
    fetched = await allowing.fetch_url(web.url("/", host="several.example"), folder=tmp_path)
    assert fetched.path.read_text() == "found"


async def test_the_server_is_told_the_name_and_not_the_address(web: Web, tmp_path: Path) -> None:
    web.add("/", body="x")
    allowing = fetcher(f"named.example:{web.port}", resolve=Names(["127.0.0.1"]))
    await allowing.fetch_url(web.url("/", host="named.example"), folder=tmp_path)
    assert web.requests[0].headers["host"] == f"named.example:{web.port}"


async def test_proxies_of_the_environment_are_not_used(
    web: Web, other_web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.add("/", body="direct")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, other_web.url(""))
    fetched = await fetcher(web.host_port).fetch_url(web.url("/"), folder=tmp_path)
    assert fetched.path.read_text() == "direct"
    assert other_web.requests == []


async def test_a_name_without_an_address_is_unreachable(tmp_path: Path) -> None:
    async def fails(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    for resolve in (fails, Names([])):
        with pytest.raises(FetchUnreachable):
            await fetcher(resolve=resolve).fetch_url("http://gone.example/", folder=tmp_path)


async def test_the_systems_resolver_reads_odd_spellings_as_the_addresses_they_are() -> None:
    for spelling in ("127.1", "0x7f000001", "2130706433", "0177.0.0.1"):
        found = await resolve_name(spelling, 80)
        assert [ip_address(text) for text in found] == [ip_address("127.0.0.1")]


async def test_a_unix_socket_is_never_opened() -> None:
    with pytest.raises(FetchRefusedAddress):
        await GuardedBackend(allow_list=AllowList()).connect_unix_socket("/run/docker.sock")


async def test_the_guard_refuses_below_the_url_check_too() -> None:
    backend = GuardedBackend(allow_list=AllowList())
    async with httpcore.AsyncConnectionPool(network_backend=backend) as pool:
        for host in ("127.0.0.1", "localhost", "0x7f.1"):
            with pytest.raises(FetchRefusedAddress):
                await pool.request(
                    "GET", httpcore.URL(scheme="http", host=host, port=1, target="/")
                )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for secure.example only, signed by itself, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "secure.example")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("secure.example")]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path_factory.mktemp("tls") / "secure.pem"
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure_web(certificate: Path) -> Iterator[tuple[Web, list[str | None]]]:
    """A TLS server, and the names that clients asked it for in the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    with open_web(ssl_context=context) as server:
        yield server, asked


async def test_tls_is_checked_against_the_name_although_the_address_is_pinned(
    secure_web: tuple[Web, list[str | None]], certificate: Path, tmp_path: Path
) -> None:
    web, asked = secure_web
    web.add("/", body="private talk")
    trusting = ssl.create_default_context(cafile=str(certificate))
    names = Names(["127.0.0.1"])
    allowing = fetcher("127.0.0.0/8", resolve=names, ssl_context=trusting)
    fetched = await allowing.fetch_url(web.url("/", host="secure.example"), folder=tmp_path)
    assert fetched.path.read_text() == "private talk"
    with pytest.raises(FetchUnreachable):
        await allowing.fetch_url(web.url("/", host="other.example"), folder=tmp_path)
    assert asked == ["secure.example", "other.example"]


async def test_a_certificate_of_nobody_known_is_unreachable(
    secure_web: tuple[Web, list[str | None]], tmp_path: Path
) -> None:
    web, _ = secure_web
    usual = fetcher(
        "127.0.0.0/8",
        resolve=Names(["127.0.0.1"]),
        ssl_context=httpx.create_ssl_context(trust_env=False),
    )
    with pytest.raises(FetchUnreachable):
        await usual.fetch_url(web.url("/", host="secure.example"), folder=tmp_path)
