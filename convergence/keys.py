"""Key files: what signs and what makes pattern identities. Keys are never logged.

In ``settings.keys_directory``, one key a file, 32 bytes in hex ('@' is in no name, so no two names collide):

    <federation>@<instance_id>.instance-key        signs what the instance sends
    <federation>@<instance_id>.next-instance-key   made for a rotation, adopted once it is enrolled
    <federation>.operator-key                      signs registrations and commands
    <federation>.<epoch>.federation-key            shared by its deployments; the highest epoch counts
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nacl.signing import SigningKey

from convergence.errors import KeyFileError

#: Every key is so many bytes.
KEY_BYTES = 32

_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class FederationKey:
    """The HMAC key of a federation in one key epoch; the secret is not in its repr."""

    epoch: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Keys:
    """The key files of one directory. All methods raise KeyFileError."""

    directory: Path

    def instance(self, federation: str, instance_id: str) -> SigningKey:
        """Return the key that the instance signs with."""
        return SigningKey(self._read(self._instance(federation, instance_id, "")))

    def ensure_instance(self, federation: str, instance_id: str) -> SigningKey:
        """Return the key that the instance signs with; it is made if there is none."""
        return SigningKey(self._ensure(self._instance(federation, instance_id, "")))

    def ensure_next_instance(self, federation: str, instance_id: str) -> SigningKey:
        """Return the key that the instance will sign with after its rotation; it is made if there is none."""
        return SigningKey(self._ensure(self._instance(federation, instance_id, "next-")))

    def has_next_instance(self, federation: str, instance_id: str) -> bool:
        """Tell whether there is a next key."""
        return self._instance(federation, instance_id, "next-").exists()

    def adopt_next_instance(self, federation: str, instance_id: str) -> SigningKey:
        """Put the next key in the place of the present one, in one step, and return it."""
        following = self._instance(federation, instance_id, "next-")
        key = SigningKey(self._read(following))
        following.replace(self._instance(federation, instance_id, ""))
        _sync(self.directory)
        return key

    def operator(self, federation: str) -> SigningKey:
        """Return the operator's key."""
        return SigningKey(self._read(self._operator(federation)))

    def ensure_operator(self, federation: str) -> SigningKey:
        """Return the operator's key; it is made if there is none."""
        return SigningKey(self._ensure(self._operator(federation)))

    def federation(self, federation: str) -> FederationKey:
        """Return the federation's key of the highest epoch."""
        epochs = sorted(self._epochs(federation))
        if not epochs:
            raise KeyFileError(
                f"{self.directory} has no key of the federation {federation}: copy "
                f"{federation}.<epoch>.federation-key from a deployment that has it, or make the first one"
            )
        return FederationKey(epochs[-1], self._read(self._federation(federation, epochs[-1])))

    def has_federation(self, federation: str) -> bool:
        """Tell whether there is a key of the federation, readable or not."""
        return next(self._epochs(federation), None) is not None

    def ensure_federation(self, federation: str) -> FederationKey:
        """Return the federation's key of the highest epoch; the first is made if there is none."""
        known = self.has_federation(federation)
        return self.federation(federation) if known else self.new_federation(federation)

    def new_federation(self, federation: str) -> FederationKey:
        """Make a fresh random key for the federation's next epoch (the first is 0) and return it."""
        epoch = max(self._epochs(federation), default=-1) + 1
        return FederationKey(epoch, self._create(self._federation(federation, epoch)))

    def _epochs(self, federation: str) -> Iterator[int]:
        for path in self.directory.glob(f"{federation}.*.federation-key"):
            epoch = path.name.removeprefix(f"{federation}.").removesuffix(".federation-key")
            if epoch.isdecimal():
                yield int(epoch)

    def _instance(self, federation: str, instance_id: str, stage: str) -> Path:
        return self.directory / f"{federation}@{instance_id}.{stage}instance-key"

    def _operator(self, federation: str) -> Path:
        return self.directory / f"{federation}.operator-key"

    def _federation(self, federation: str, epoch: int) -> Path:
        return self.directory / f"{federation}.{epoch}.federation-key"

    def _ensure(self, path: Path) -> bytes:
        return self._read(path) if path.exists() else self._create(path)

    def _create(self, path: Path) -> bytes:
        key = secrets.token_bytes(KEY_BYTES)
        private_directory(self.directory)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key.hex().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, not a rename: a key that appeared meanwhile is never overwritten.
            os.link(temporary, path)
        except FileExistsError:
            raise KeyFileError(f"{path} exists already; a key is never overwritten") from None
        finally:
            temporary.unlink(missing_ok=True)
        _sync(self.directory)
        return key

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                content = file.read(4 * KEY_BYTES)
        except FileNotFoundError:
            raise KeyFileError(f"{path} does not exist") from None
        except OSError as error:
            raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
        if mode & _OTHERS:
            raise KeyFileError(f"{path} is open to others (mode {mode:04o}): `chmod 600 {path}`")
        try:
            key = bytes.fromhex(content.decode("ascii"))
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise KeyFileError(f"{path} is damaged: it must hold {2 * KEY_BYTES} hex digits")
        return key


def private_directory(path: Path) -> None:
    """Make the directory, for its owner alone, if it does not exist."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
