import base64
import builtins

import pytest

from dspex_core.artifacts import ArtifactStore, Keyring
from dspex_core.errors import ArtifactMissingError, ConfigurationError, EncryptionError
from dspex_core.redaction import redacted

OLD = f"old:{base64.b64encode(bytes(range(32))).decode()}"
NEW = f"new:{base64.b64encode(bytes(range(32, 64))).decode()}"


def test_what_is_sealed_can_be_opened_and_not_be_read():
    keyring = Keyring.parse(NEW)
    sealed = keyring.seal(b"a secret")
    assert b"secret" not in sealed
    assert keyring.open(sealed) == b"a secret"
    assert keyring.seal(b"a secret") != sealed, "equal contents look different"
    assert keyring.open(keyring.seal(b"")) == b""


def test_the_first_key_seals_and_all_open():
    before, between, after = Keyring.parse(OLD), Keyring.parse(f"{NEW}, {OLD}"), Keyring.parse(NEW)
    assert between.open(before.seal(b"x")) == b"x"
    assert after.open(between.seal(b"x")) == b"x"
    with pytest.raises(EncryptionError, match=r"encrypted with the key 'new', .* has only 'old' here"):
        before.open(between.seal(b"x"))


def test_another_key_under_the_same_id_is_told_apart_from_a_missing_one():
    other = Keyring.parse(NEW.replace("new", "old"))
    with pytest.raises(EncryptionError, match="another key under the same id"):
        other.open(Keyring.parse(OLD).seal(b"x"))


@pytest.mark.parametrize("position", [0, 15, 16, 20, 31, 33, -1])
def test_an_altered_byte_anywhere_is_noticed(position):
    keyring = Keyring.parse(OLD)
    sealed = bytearray(keyring.seal(b"content"))
    sealed[position] ^= 1
    with pytest.raises(EncryptionError):
        keyring.open(bytes(sealed))


@pytest.mark.parametrize("length", range(32))
def test_a_torn_piece_is_an_error_of_ours(length):
    keyring = Keyring.parse(OLD)
    with pytest.raises(EncryptionError):
        keyring.open(keyring.seal(b"content")[:length])


@pytest.mark.parametrize(
    "text",
    ["correct horse battery staple", "a:correct-horse", f"a:{base64.b64encode(b'x' * 16).decode()}", "a:", ",", "a:=",
     f"{NEW},hunter2hunter2"],
)  # fmt: skip
def test_a_passphrase_or_a_short_key_is_refused_with_how_to_make_one(text):
    with pytest.raises(EncryptionError, match=r"32 random bytes .*openssl rand -base64 32") as caught:
        Keyring.parse(text)
    assert not any(secret in str(caught.value) for secret in ("horse", "hunter2", "eHh4"))


def test_two_keys_of_one_id_are_refused():
    with pytest.raises(EncryptionError, match="two keys of the id 'old'"):
        Keyring.parse(f"{OLD},{OLD}")


@pytest.mark.parametrize("key_id", ["", "a b", "x" * 65])
def test_an_id_that_is_none_is_refused(key_id):
    with pytest.raises(EncryptionError, match="no usable id"):
        Keyring.parse(OLD.replace("old", key_id))


def test_a_key_without_an_id_goes_by_its_digest_and_in_either_alphabet():
    key = base64.b64encode(b"\xfb" * 32).decode()
    assert Keyring.parse(key).key_ids == Keyring.parse(key.replace("+", "-").replace("/", "_")).key_ids
    assert Keyring.parse(key).key_ids != Keyring.parse(OLD.partition(":")[2]).key_ids


def test_keys_are_struck_out_of_texts():
    Keyring.parse(OLD)
    assert OLD.partition(":")[2] not in redacted(f"the environment has {OLD}")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    importing = builtins.__import__

    def without(name, *rest):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return importing(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"pip install 'dspex\[encryption\]'"):
        Keyring.parse(OLD)


async def test_artifacts_are_encrypted_and_go_by_the_digest_of_what_is_in_them(tmp_path):
    plain, sealed = (ArtifactStore((tmp_path / name).as_uri(), keyring=keyring)
                     for name, keyring in (("plain", None), ("sealed", Keyring.parse(NEW))))  # fmt: skip
    digest = await sealed.put(b"a secret row")
    assert digest == await plain.put(b"a secret row")
    assert await sealed.get(digest) == b"a secret row"
    [kept] = [path for path in (tmp_path / "sealed").rglob("*") if path.is_file()]
    assert b"secret" not in kept.read_bytes()


async def test_artifacts_kept_before_the_key_was_set_or_changed_stay_readable(tmp_path):
    url = tmp_path.as_uri()
    first = await ArtifactStore(url).put(b"one")
    second = await ArtifactStore(url, keyring=Keyring.parse(OLD)).put(b"two")
    now = ArtifactStore(url, keyring=Keyring.parse(f"{NEW},{OLD}"))
    assert [await now.get(first), await now.get(second)] == [b"one", b"two"]


async def test_an_encrypted_artifact_without_its_key_names_the_key_that_is_missing(tmp_path):
    url = tmp_path.as_uri()
    digest = await ArtifactStore(url, keyring=Keyring.parse(OLD)).put(b"one")
    with pytest.raises(EncryptionError, match="the key 'old', and DSPEX_ENCRYPTION_KEY is not set here"):
        await ArtifactStore(url).get(digest)
    with pytest.raises(EncryptionError, match="has only 'new' here"):
        await ArtifactStore(url, keyring=Keyring.parse(NEW)).get(digest)


async def test_an_artifact_in_place_of_another_is_noticed_though_its_key_is_right(tmp_path):
    store = ArtifactStore(tmp_path.as_uri(), keyring=Keyring.parse(OLD))
    one, two = [await store.put(content) for content in (b"one", b"two")]
    (tmp_path / one[:2] / one).write_bytes((tmp_path / two[:2] / two).read_bytes())
    with pytest.raises(ArtifactMissingError, match="altered"):
        await store.get(one)
