"""Artifacts on S3-compatible storage: a real server, over HTTP, that checks signatures."""

from datetime import timedelta

import pytest
from real_parts import in_environment
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY

from dspex_core.artifacts import ArtifactStore, DatasetReader, store_dataset
from dspex_core.errors import ArtifactAccessError, ArtifactError, ArtifactMissingError
from dspex_core.testing import conformance_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def store(s3):
    with in_environment(s3.variables):
        yield ArtifactStore(s3.variables["DSPEX_ARTIFACTS"])


async def refusal_of(call):
    with pytest.raises(ArtifactError) as raised:
        await call
    said = str(raised.value)
    assert "\n" not in said
    assert len(said) < 500
    for key in (ACCESS_KEY, SECRET_KEY, "another-secret"):
        assert key not in said
    return type(raised.value), said


async def test_what_one_machine_keeps_another_reads(store, s3):
    dataset = await store_dataset(store, conformance_rows(40) * 30)
    there = DatasetReader(ArtifactStore(s3.variables["DSPEX_ARTIFACTS"]))
    assert (await there.read(dataset, [0, 700, 1199])).examples()[0].text == conformance_rows(40)[0].text


async def test_artifacts_are_listed_and_removed_unless_written_anew(store):
    digest = await store.put(b"to be removed")
    now = await store.now()
    [found] = [artifact async for artifact in store.stored() if artifact.digest == digest]
    assert not await store.remove(found, unless_since=now - timedelta(hours=1))
    assert await store.remove(found, unless_since=now + timedelta(hours=1))
    assert digest not in {artifact.digest async for artifact in store.stored()}


async def test_what_goes_by_a_name_is_found_again(store, s3):
    run = "0" * 64
    await store.keep(f"{run}/evaluations/one", b"first")
    await store.keep(f"{run}/evaluations/one", b"second")
    there = ArtifactStore(s3.variables["DSPEX_ARTIFACTS"])
    assert await there.kept(f"{run}/evaluations/one") == b"second"
    assert await there.kept(f"{run}/evaluations/two") is None
    assert await there.names(run) == [f"{run}/evaluations/one"]


async def test_a_missing_and_an_altered_artifact_are_told_from_a_store_that_refuses(store, s3):
    kind, said = await refusal_of(store.get("0" * 64))
    assert (kind, "is not in s3://" in said) == (ArtifactMissingError, True)
    digest = await store.put(b"as it was")
    next(s3.objects.rglob(digest)).write_bytes(b"as it is!")
    kind, said = await refusal_of(store.get(digest))
    assert (kind, "has been altered" in said) == (ArtifactMissingError, True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "another-secret"}, "rejects the credentials"),
        ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "rejects the credentials"),
        ({"DSPEX_ARTIFACTS": "s3://no-such-bucket/x"}, "there is no such bucket"),
    ],
)
async def test_what_a_store_refuses_and_why_is_said_in_one_line_without_a_key(s3, changed, said):
    with in_environment({**s3.variables, **changed}):
        refused = ArtifactStore({**s3.variables, **changed}["DSPEX_ARTIFACTS"])
        calls = (lambda: refused.put(b"x"), lambda: refused.get("0" * 64), refused.now, refused.stored().__anext__)
        for call in calls:
            kind, told = await refusal_of(call())
            assert (kind, said in told) == (ArtifactAccessError, True), told
            assert changed.get("DSPEX_ARTIFACTS", f"s3://{BUCKET}/") in told


async def test_a_store_that_is_away_is_an_outage_and_not_a_missing_artifact(store, s3):
    digest = await store.put(b"content")
    s3.kill()
    try:
        kind, said = await refusal_of(store.get(digest))
        assert (kind, "cannot read from the artifact store" in said) == (ArtifactError, True)
    finally:
        s3.start()
    assert await store.get(digest) == b"content"
