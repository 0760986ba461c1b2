import hashlib
from datetime import timedelta

import pytest

from dspex_core.artifacts import ArtifactStore, Keyring
from dspex_core.errors import ArtifactError, ArtifactMissingError, ConfigurationError, EncryptionError

RUN = "0" * 64


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a folder with spaces & ümlauts"


@pytest.fixture
def store(folder):
    return ArtifactStore(folder.as_uri())


async def test_what_was_kept_is_found_by_its_digest_also_by_another_process_s_store(store, folder):
    digest = await store.put(b"content")
    assert digest == hashlib.sha256(b"content").hexdigest()
    assert await store.get(digest) == b"content"
    assert await ArtifactStore(folder.as_uri()).get(digest) == b"content"


async def test_the_same_content_is_kept_once(store, folder):
    assert await store.put(b"content") == await store.put(b"content")
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


async def test_nothing_is_content_too(store):
    assert await store.get(await store.put(b"")) == b""


async def test_a_missing_artifact_says_where_it_was_looked_for(store, folder):
    with pytest.raises(ArtifactError, match=f"artifact {'0' * 64} is not in .*share one DSPEX_ARTIFACTS"):
        await store.get("0" * 64)


async def test_an_altered_artifact_is_never_handed_out(store, folder):
    digest = await store.put(b"content")
    next(path for path in folder.rglob("*") if path.is_file()).write_bytes(b"altered")
    with pytest.raises(ArtifactError, match="has been altered"):
        await store.get(digest)


@pytest.mark.parametrize("url", ["ftp://host/x", "no url", "s3://"])
def test_a_url_that_is_no_store_is_refused_by_name(url):
    with pytest.raises(ConfigurationError, match=r"no artifact store at .*DSPEX_ARTIFACTS"):
        ArtifactStore(url)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="no artifact store at"):
        ArtifactStore((tmp_path / "file" / "below").as_uri())


async def test_a_store_that_cannot_be_written_to_says_so(store, folder):
    digest = hashlib.sha256(b"content").hexdigest()
    (folder / digest[:2]).write_text("a file where a folder must be")
    with pytest.raises(ArtifactError, match="cannot write to the artifact store"):
        await store.put(b"content")


async def test_artifacts_are_listed_without_what_else_lies_there(store, folder):
    digests = {await store.put(content) for content in (b"one", b"three")}
    (folder / "notes.txt").write_text("not an artifact")
    (folder / "00").mkdir()
    (folder / "00" / ("1" * 64)).write_text("misplaced")
    found = [artifact async for artifact in store.stored()]
    assert {artifact.digest for artifact in found} == digests
    assert sorted(artifact.size_bytes for artifact in found) == [3, 5]


async def test_asking_the_stores_clock_leaves_nothing_behind(store, folder):
    now = await store.now()
    assert await store.now() >= now
    assert [artifact async for artifact in store.stored()] == []


async def test_an_artifact_written_anew_since_it_was_listed_is_not_removed(store, folder):
    digest = await store.put(b"content")
    (found,) = [artifact async for artifact in store.stored()]
    now = await store.now()
    assert not await store.remove(found, unless_since=now - timedelta(hours=1))
    assert await store.get(digest) == b"content"
    assert await store.remove(found, unless_since=now + timedelta(hours=1))
    assert not await store.remove(found, unless_since=now + timedelta(hours=1))
    with pytest.raises(ArtifactMissingError):
        await store.get(digest)


async def test_what_goes_by_a_name_is_found_by_it_and_may_be_replaced(store, folder):
    assert await store.kept(RUN + "/step/answer") is None
    await store.keep(RUN + "/step/answer", b"first")
    await store.keep(RUN + "/step/answer", b"second")
    assert await ArtifactStore(folder.as_uri()).kept(RUN + "/step/answer") == b"second"


async def test_names_of_a_folder_are_listed_in_order(store):
    assert await store.names(RUN + "/step") == []
    for name in (RUN + "/step/b", RUN + "/step/a", RUN + "/step-2/c"):
        await store.keep(name, b"content")
    assert await store.names(RUN + "/step") == [RUN + "/step/a", RUN + "/step/b"]
    assert len(await store.names(RUN)) == 3
    assert {artifact.digest async for artifact in store.stored()} == {RUN}


@pytest.mark.parametrize("damage", [b"", b"half", b"x" * 100])
async def test_what_goes_by_a_name_and_is_damaged_is_as_if_it_were_not_there(store, folder, damage):
    await store.keep(RUN + "/step/answer", b"content")
    next(path for path in folder.rglob("answer")).write_bytes(damage)
    assert await store.kept(RUN + "/step/answer") is None


async def test_what_goes_by_a_name_is_encrypted_where_artifacts_are(store, folder):
    keys = Keyring({"2026-11": b"k" * 32})
    await ArtifactStore(folder.as_uri(), keyring=keys).keep(RUN + "/step/answer", b"content")
    assert b"content" not in next(path for path in folder.rglob("answer")).read_bytes()
    assert await ArtifactStore(folder.as_uri(), keyring=keys).kept(RUN + "/step/answer") == b"content"
    with pytest.raises(EncryptionError, match="DSPEX_ENCRYPTION_KEY"):
        await store.kept(RUN + "/step/answer")


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", f"{RUN}/../../outside", f"{RUN}/a/..", "%2e%2e/outside", ""]
)
async def test_what_leads_out_of_the_store_is_neither_read_nor_written(store, folder, name):
    outside = folder.parent / "outside"
    outside.write_bytes(b"not yours")
    for ask in (store.get(name), store.kept(name), store.keep(name, b"mine"), store.names(name)):
        with pytest.raises(ArtifactMissingError, match=r"is no (digest|name)"):
            await ask
    assert outside.read_bytes() == b"not yours"
    assert [path for path in folder.rglob("*") if path.is_file()] == []
