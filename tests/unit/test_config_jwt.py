"""Settings of signed tokens: what would let everybody in, or nobody, is refused at the start."""

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from engine.access import JwtRules
from engine.config import JWT_ALGORITHMS, PREFIX, Settings, SettingsError

SECRET = "s" * 64
RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
ED = ed25519.Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())


def settings(**variables: str) -> Settings:
    return Settings.from_env({PREFIX + name: value for name, value in variables.items()})


def public(key: object, *, encoding: Encoding = Encoding.PEM) -> str:
    form = (
        PublicFormat.OpenSSH if encoding is Encoding.OpenSSH else PublicFormat.SubjectPublicKeyInfo
    )
    return key.public_key().public_bytes(encoding, form).decode()


def private(key: object, *, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


KEYS = {
    "HS256": "s" * 32,
    "HS384": "s" * 48,
    "HS512": "s" * 64,
    "RS256": public(RSA),
    "RS384": public(RSA),
    "RS512": public(RSA),
    "PS256": public(RSA),
    "PS384": public(RSA),
    "PS512": public(RSA),
    "ES256": public(P256),
    "ES384": public(ec.generate_private_key(ec.SECP384R1())),
    "ES512": public(ec.generate_private_key(ec.SECP521R1())),
    "EdDSA": public(ED),
}


def test_every_algorithm_that_is_allowed_is_tried_here() -> None:
    assert set(KEYS) == set(JWT_ALGORITHMS)


@pytest.mark.parametrize("algorithm", KEYS)
def test_each_algorithm_takes_the_key_that_fits_it(algorithm: str) -> None:
    key = KEYS[algorithm].strip()
    read = settings(JWT_KEY=key, JWT_ALGORITHM=algorithm, JWT_AUDIENCE="engine")
    assert JwtRules.from_settings(read) == JwtRules(key=key, algorithm=algorithm, audience="engine")
    assert Settings.from_env(read.env()) == read


def test_ed448_signs_too() -> None:
    key = public(ed448.Ed448PrivateKey.generate())
    assert settings(JWT_KEY=key, JWT_ALGORITHM="EdDSA", JWT_AUDIENCE="engine").jwt_key == key


def test_without_a_key_no_token_is_accepted() -> None:
    assert JwtRules.from_settings(settings()) is None
    assert JwtRules.from_settings(settings(JWT_AUDIENCE="engine", JWT_ALGORITHM="RS256")) is None


@pytest.mark.parametrize("algorithm", ["none", "None", "", "hs256", "HS1", "RS256,HS256"])
def test_an_unknown_algorithm_is_refused_with_or_without_a_key(algorithm: str) -> None:
    wanted = f"^{PREFIX}JWT_ALGORITHM: must be one of HS256, "
    with pytest.raises(SettingsError, match=wanted):
        settings(JWT_ALGORITHM=algorithm)
    with pytest.raises(SettingsError, match=wanted):
        settings(JWT_ALGORITHM=algorithm, JWT_KEY=SECRET, JWT_AUDIENCE="engine")


def test_a_key_without_an_audience_is_refused() -> None:
    with pytest.raises(SettingsError, match=f"^{PREFIX}JWT_AUDIENCE: "):
        settings(JWT_KEY=SECRET)


@pytest.mark.parametrize(
    ("algorithm", "key", "issue"),
    [
        ("HS256", "s" * 31, "at least 32 bytes"),
        ("HS384", "s" * 47, "at least 48 bytes"),
        ("HS512", "s" * 63, "at least 64 bytes"),
        ("HS256", public(RSA), "a shared secret"),
        ("HS256", "some words before\n" + public(RSA), "a shared secret"),
        ("HS256", public(RSA, encoding=Encoding.OpenSSH), "a shared secret"),
        ("HS256", public(P256, encoding=Encoding.OpenSSH), "a shared secret"),
        ("HS256", '{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}', "a shared secret"),
        ("RS256", SECRET, "a public key in PEM form"),
        ("RS256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "in PEM form"),
        ("RS256", "-----BEGIN PUBLIC KEY-----\ud800", "in PEM form"),
        ("RS256", private(RSA), "not the private one"),
        ("RS256", private(RSA, form=PrivateFormat.TraditionalOpenSSL), "not the private one"),
        ("RS256", private(RSA) + public(RSA), "not the private one"),
        ("ES256", private(P256), "not the private one"),
        ("EdDSA", private(ED, form=PrivateFormat.OpenSSH), "not the private one"),
        ("RS256", public(P256), "an RSA key"),
        ("PS512", public(ED), "an RSA key"),
        ("RS256", public(rsa.generate_private_key(public_exponent=3, key_size=1024)), "2048 bits"),
        ("ES256", public(RSA), "on the curve secp256r1"),
        ("ES384", public(P256), "on the curve secp384r1"),
        ("ES512", public(ec.generate_private_key(ec.SECP384R1())), "on the curve secp521r1"),
        ("ES256", public(ec.generate_private_key(ec.SECP256K1())), "on the curve secp256r1"),
        ("EdDSA", public(P256), "Ed25519 or Ed448"),
        ("EdDSA", public(dsa.generate_private_key(key_size=1024)), "Ed25519 or Ed448"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_and_not_shown(
    algorithm: str, key: str, issue: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{PREFIX}JWT_KEY: .*{issue}") as caught:
        settings(JWT_KEY=key, JWT_ALGORITHM=algorithm, JWT_AUDIENCE="engine")
    assert key[:40] not in str(caught.value)
    assert str(caught.value).endswith(f"for {algorithm}")
