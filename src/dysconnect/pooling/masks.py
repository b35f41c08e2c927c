"""Masks that cancel: a sum over sites of which nobody sees a part.

Every two sites share a secret that nobody else can compute, and stretch it to a row of random numbers as long as what
they give; one of the two adds that row, the other takes it away. Everything is counted in whole steps modulo 2^64, so
that a masked number by itself may be anything, and the masks of all sites together are exactly zero.

References
----------
Bonawitz et al. (2017), doi:10.1145/3133956.3133982, of whose protocol these are the masks between pairs; sites that
drop out are not replaced. X25519 is RFC 7748, HKDF RFC 5869, ChaCha20 RFC 8439, Ed25519 RFC 8032.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LENGTH = 32  # bytes of a secret, and of each of the two halves of what is public of it
LARGEST = 2**40  # steps that a sum may have: t keeps ten digits, and what a wrong mask leaves is far larger
NUMBER = np.dtype("<u8")


def new_secret() -> bytes:
    """Draw the secret of a site for one session; exchange, signature and permutations are derived from it."""
    return secrets.token_bytes(LENGTH)


def public_of(secret: bytes) -> bytes:
    """What leaves of a secret, [64 bytes]: half to agree on masks with other sites, half to know its signature by."""
    return _exchange(secret).public_key().public_bytes_raw() + _signature(secret).public_key().public_bytes_raw()


def fingerprint(public: bytes) -> str:
    """Short form of something public, to be compared by phone: ``3f2a 90c1 77d4 e20b 5a10``."""
    return in_fours(hashlib.sha256(public).hexdigest())


def in_fours(digits: str) -> str:
    """First twenty digits of a hash, as they are read out."""
    return " ".join(digits[k : k + 4] for k in range(0, 20, 4))


def mask(secret: bytes, publics: Sequence[bytes], session: bytes, count: int) -> np.ndarray:
    """Mask of a site, uint64 [count]; those of all sites add up to zero.

    Parameters
    ----------
    secret : bytes
    publics : sequence of bytes
        Of all sites, in an order that is the same at all of them; the site's own is among them.
    session : bytes
        Number of the session: another one has other masks.
    count : int

    Raises
    ------
    ValueError
        When the site is not among them, or what is public of another one is none of this kind.

    Notes
    -----
    The row of a pair is made of what is public of both besides what they share. Of the latter alone, the rows of two
    pairs would be one, and cancel, as soon as a site gives a copy of another one's key for its own.
    """
    own = list(publics).index(public_of(secret))
    total = np.zeros(count, NUMBER)
    for place, public in enumerate(publics):
        if place != own:
            shared = _exchange(secret).exchange(X25519PublicKey.from_public_bytes(public[:LENGTH]))
            pair = b"".join(publics[k] for k in sorted((own, place)))
            row = stream(shared, "mask", session + pair)(count)
            total = total + row if own < place else total - row
    return total


def stream(secret: bytes, purpose: str, session: bytes) -> Callable[[int], np.ndarray]:
    """Random numbers that only whoever has the secret can make: a function that gives the next uint64 [count]."""
    cipher = Cipher(ChaCha20(_derived(secret, purpose, session), bytes(16)), mode=None).encryptor()  # a key for itself
    return lambda count: np.frombuffer(cipher.update(bytes(8 * count)), NUMBER)


def to_steps(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Count values [n, V] in whole steps [V] modulo 2^64, uint64 [n, V].

    Raises
    ------
    ValueError
        For NaN, infinity, or a value of more steps than the sum over all sites may have.
    """
    if not np.isfinite(values).all():
        raise ValueError("there are NaN or infinities in the sums.")
    counted = np.rint(values / steps)
    if (np.abs(counted) > LARGEST).any():
        place = np.abs(counted).max(0).argmax()
        raise ValueError(
            f"value {place + 1} of {counted.shape[1]} is {np.abs(values[:, place]).max():.6g}, and people of all sites "
            f"together have {steps[place] * LARGEST:.6g} at most."
        )
    return counted.astype("<i8").view(NUMBER)


def of_steps(total: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Turn totals over all sites back into numbers.

    Raises
    ------
    ValueError
        When they are larger than any sum can be, as they are where a mask is left.
    """
    counted = np.ascontiguousarray(total, NUMBER).view("<i8")
    if ((counted > LARGEST) | (counted < -LARGEST)).any():
        raise ValueError("the masks do not cancel.")
    return counted * steps


def signed(secret: bytes, content: bytes) -> bytes:
    """Signature of a content, [64 bytes]."""
    return _signature(secret).sign(content)


def is_signed(public: bytes, content: bytes, signature: bytes) -> bool:
    """Whether a content is what the site with this public part has signed."""
    try:
        Ed25519PublicKey.from_public_bytes(public[LENGTH:]).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _exchange(secret: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_derived(secret, "exchange"))


def _signature(secret: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_derived(secret, "signature"))


def _derived(secret: bytes, purpose: str, session: bytes = b"") -> bytes:
    return HKDF(SHA256(), LENGTH, session or None, f"dysconnect {purpose}".encode()).derive(secret)
