import os
import re
import socket
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from readmes.rights import rights

from lossmap.components.core.errors import StoreError
from lossmap.components.stores.objects import open_source, open_store


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "s3":
        return open_store(request.getfixturevalue("s3"))
    return open_store((tmp_path / "a store #1").as_uri())


def _message(call, *arguments):
    with pytest.raises(StoreError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read_and_replaced(store):
    store.write("runs/a/x.bin", bytes(range(256)))
    assert store.read("runs/a/x.bin") == bytes(range(256))
    store.write("runs/a/x.bin", b"")
    assert store.read("runs/a/x.bin") == b""


def test_an_object_exists_only_under_its_whole_key(store):
    store.write("a/b.c", b"1")
    assert store.exists("a/b.c")
    assert not any(store.exists(key) for key in ("a/b", "a", "a/", "a/b.c/d", "b.c"))


def test_keys_are_those_of_the_prefix_in_order(store):
    written = ["z", "tiles/10", "tiles/9", "tiles/1/x", "tiles-of-others/1", "t", ".hidden/x"]
    for key in written:
        store.write(key, key.encode())
    assert list(store.keys("")) == sorted(written)
    assert list(store.keys("tiles")) == ["tiles-of-others/1", "tiles/1/x", "tiles/10", "tiles/9"]
    assert list(store.keys("tiles/1")) == ["tiles/1/x", "tiles/10"]
    assert list(store.keys("tiles/")) == ["tiles/1/x", "tiles/10", "tiles/9"]
    assert list(store.keys("nothing/here")) == []


def test_more_keys_than_a_page_of_s3_holds_are_listed(store, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")  # the server's page; that of AWS has 1000
    for index in range(25):
        store.write(f"many/{index:04}", b"")
    assert list(store.keys("many/")) == [f"many/{index:04}" for index in range(25)]


def test_a_deleted_object_is_gone_and_deleting_it_again_is_nothing(store):
    store.write("a/b", b"1")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("a/b/c")
    assert not store.exists("a/b")
    assert list(store.keys("")) == []


def test_a_download_has_the_bytes_of_the_object(store, tmp_path):
    content = bytes(range(256)) * 40_000
    store.write("weights", content)
    store.download("weights", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


@pytest.mark.parametrize("key", ["a", "a/b", "a/b.c/d", "none"])
def test_a_missing_object_is_named(store, tmp_path, key):
    store.write("a/b.c", b"1")
    expected = f"{store.uri} has no object {key}"
    assert _message(store.read, key) == expected
    assert _message(store.download, key, tmp_path / "copy") == expected


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd", ".."])
def test_a_key_that_leads_out_of_the_store_is_refused(store, tmp_path, key):
    expected = f"key is {key!r}, expected one inside {store.uri}"
    assert _message(store.write, key, b"") == expected
    assert _message(store.read, key) == expected
    assert _message(store.exists, key) == expected
    assert _message(store.delete, key) == expected
    assert _message(store.download, key, tmp_path / "copy") == expected
    assert (
        _message(lambda: list(store.keys(f"{key}/")))
        == f"key is {key + '/'!r}, expected one inside {store.uri}"
    )


def test_readers_see_a_whole_object_while_it_is_replaced(store):
    contents = {bytes([value]) * 200_000 for value in range(2)}
    store.write("x", next(iter(contents)))
    ended, seen = threading.Event(), []

    def read():
        while not ended.is_set():
            seen.append((store.read("x"), list(store.keys(""))))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for content in contents:
            store.write("x", content)
    ended.set()
    reader.join()
    assert seen
    assert all(content in contents and keys == ["x"] for content, keys in seen)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    store = open_store(str(tmp_path))
    store.write("x", b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    expected = (
        f"{tmp_path}/x cannot be written: No space left on device; free space or choose another folder with"
        " --store"
    )
    assert _message(store.write, "x", b"new") == expected
    assert store.read("x") == b"old"
    assert [path.name for path in tmp_path.rglob("*")] == ["x"]


def test_what_a_killed_writer_left_is_not_listed(tmp_path):
    store = open_store(str(tmp_path))
    store.write("a/x", b"whole")
    (tmp_path / "a" / ".x.01234567.part").write_bytes(b"hal")
    assert list(store.keys("")) == ["a/x"]


def test_objects_in_a_folder_have_the_rights_of_other_new_files(tmp_path):
    open_store(str(tmp_path)).write("x", b"")
    (tmp_path / "y").write_bytes(b"")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = open_store(str(tmp_path / "file"))
    expected = (
        f"{tmp_path}/file/a/x cannot be written: Not a directory; free space or choose another folder with"
        " --store"
    )
    assert _message(store.write, "a/x", b"") == expected


def test_a_folder_without_the_right_to_write_is_named():
    store = open_store("file:///proc/1")
    assert re.fullmatch(
        r"/proc/1/a/x cannot be written: .*; free space or choose another folder with --store",
        _message(store.write, "a/x", b""),
    )


def test_a_folder_in_the_place_of_an_object_is_named(tmp_path):
    store = open_store(str(tmp_path))
    store.write("a/x", b"")
    assert (
        _message(store.write, "a", b"")
        == f"{tmp_path}/a cannot be written: Is a directory; free space or choose another folder with --store"
    )
    assert _message(store.delete, "a").startswith(f"{tmp_path}/a cannot be removed: ")
    assert list(store.keys("")) == ["a/x"]


def test_a_download_to_a_place_that_does_not_exist_names_the_place(store, tmp_path):
    store.write("x", b"1")
    target = tmp_path / "no" / "copy"
    assert (
        _message(store.download, "x", target)
        == f"{store.uri}/x cannot be copied to {target}: No such file or directory"
    )


@pytest.mark.parametrize("uri", ["ftp://host/x", "file://runs", "file://host/runs", "http://host", "file:"])
def test_an_address_that_is_no_store_is_refused(uri):
    assert (
        _message(open_store, uri)
        == f"store is {uri!r}, expected file:///folder, a path, or s3://bucket/prefix"
    )


def test_an_s3_address_without_a_bucket_is_refused():
    assert _message(open_store, "s3://") == "store is 's3://', expected s3://bucket/prefix"


def test_an_s3_address_with_an_impossible_bucket_is_refused(s3):
    assert _message(open_store("s3://Bad bucket/x").read, "k").startswith(
        "store is 's3://Bad bucket/x', expected s3://bucket/prefix: "
    )


def test_a_path_and_its_uri_are_the_same_store(tmp_path):
    folder = tmp_path / "50% #1"
    open_store(str(folder)).write("x", b"1")
    store = open_store(folder.as_uri())
    assert store.read("x") == b"1"
    assert open_store(store.uri).read("x") == b"1"


def test_two_prefixes_of_a_bucket_do_not_see_each_other(s3):
    open_store(f"{s3}/one").write("x", b"1")
    open_store(f"{s3}/one-more").write("y", b"2")
    assert list(open_store(f"{s3}/one/").keys("")) == ["x"]
    assert list(open_store(s3).keys("")) == ["one-more/y", "one/x"]


def test_a_prefix_may_have_every_letter(s3):
    open_store(f"{s3}/a b#c?d%41").write("é x", b"1")
    assert list(open_store(f"{s3}/a b#c?d%41").keys("")) == ["é x"]


def test_a_bucket_that_does_not_exist_is_named(s3):
    store = open_store("s3://no-such-bucket/x")
    expected = "s3://no-such-bucket/x: the bucket does not exist; create it or correct --store"
    assert _message(store.read, "k") == expected
    assert _message(store.write, "k", b"") == expected
    assert _message(store.exists, "k") == expected
    assert _message(lambda: list(store.keys(""))) == expected


def test_wrong_credentials_are_told(s3, s3_server):
    store = open_store(s3)
    _count_of_requests_without_check(s3_server, "0")
    try:
        found = _message(store.read, "k")
    finally:
        _count_of_requests_without_check(s3_server, "inf")
    assert found == f"{s3}: InvalidAccessKeyId (403) for k; check AWS_ACCESS_KEY_ID"


def _count_of_requests_without_check(server, count):
    request = urllib.request.Request(
        f"{server}/moto-api/reset-auth", data=count.encode(), headers={"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(request).close()


def test_missing_credentials_are_told(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert (
        _message(open_store(s3).read, "k")
        == f"{s3}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    )


def test_an_endpoint_that_nobody_answers_is_told_in_bounded_time(s3, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    start = time.monotonic()
    found = _message(open_store(s3).read, "k")
    assert time.monotonic() - start < 20
    name = s3.removeprefix("s3://")
    assert (
        found == f'{s3} is out of reach: Could not connect to the endpoint URL: "{endpoint}/{name}/k"; check'
        " AWS_ENDPOINT_URL"
    )


def test_an_endpoint_that_takes_no_connection_is_told_within_twenty_seconds(s3, monkeypatch):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as deaf,
        socket.socket() as first,
        socket.socket() as second,
    ):
        for waiting in (first, second):  # they fill the queue of a server that never takes anybody from it
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        store = open_store(s3)
        start = time.monotonic()
        found = _message(store.read, "k")
        seconds = time.monotonic() - start
    assert (
        found == f"{s3} is out of reach: Connect timeout on endpoint URL:"
        f' "{endpoint}/{s3.removeprefix("s3://")}/k"; check AWS_ENDPOINT_URL'
    )
    # six attempts without the variable, and the pauses between them; 19.6 if nothing else delays it
    assert 6 * seconds + 1.6 < 22


def test_attempts_are_bounded_without_the_variable_too(s3):
    assert open_store(s3)._client.meta.config.retries == {"mode": "standard", "total_max_attempts": 6}


def test_an_endpoint_that_is_no_address_is_told(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    assert (
        _message(open_store, s3)
        == f"{s3} is out of reach: Invalid endpoint: minio:9000; check AWS_ENDPOINT_URL"
    )


def _sent_headers(store):
    """The headers of every upload from now on."""
    sent = []
    store._client.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: sent.append(dict(request.headers))
    )
    return sent


def test_what_is_sent_carries_its_md5_sum_for_the_server_to_check(s3):
    store = open_store(s3)
    sent = _sent_headers(store)
    store.write("x", b"content")
    assert sent[0]["Content-MD5"] == b"mgNkuembtIDdJeHwKEyFVQ=="


def test_a_plain_path_may_begin_with_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    open_store("~/runs").write("x", b"1")
    assert Path(tmp_path, "runs", "x").read_bytes() == b"1"


def test_the_region_of_a_profile_is_used(s3, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[profile lab]\nregion = garage\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert open_store(s3)._client.meta.region_name == "garage"
    monkeypatch.setenv("AWS_REGION", "other")
    assert open_store(s3)._client.meta.region_name == "other"


def test_uploads_are_encrypted_as_the_variable_says(s3, monkeypatch):
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", '{"ServerSideEncryption": "AES256"}')
    store = open_store(s3)
    sent = _sent_headers(store)
    store.write("x", b"content")
    assert sent[0]["x-amz-server-side-encryption"] == b"AES256"
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "aws:kms")
    with pytest.raises(
        StoreError, match=r"^MLFLOW_S3_UPLOAD_EXTRA_ARGS is 'aws:kms', expected JSON such as "
    ):
        open_store(s3)


def test_a_custom_endpoint_is_spoken_to_by_paths_unless_the_profile_says_otherwise(s3, monkeypatch, tmp_path):
    def address():
        store = open_store(s3)
        url = store._client.generate_presigned_url("get_object", {"Bucket": "own-bucket", "Key": "k"})
        return url.partition("?")[0]

    assert address().endswith("/own-bucket/k")
    (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example:9000")
    assert address() == "http://own-bucket.store.example:9000/k"


def _asked(store):
    """Address and account of what would be read."""
    url = store._client.generate_presigned_url("get_object", {"Bucket": "lake", "Key": "k"})
    parts = urllib.parse.urlsplit(url)
    query = urllib.parse.parse_qs(parts.query)
    return parts.netloc, query["AWSAccessKeyId"][0], query.get("x-amz-security-token", [""])[0]


def test_what_users_bring_may_be_in_another_s3_with_keys_of_its_own(s3, s3_server, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "stores-token")
    own = (s3_server.removeprefix("http://"), "tester", "stores-token")
    assert _asked(open_source("s3://lake/images")) == own
    (tmp_path / "config").write_text(
        "[profile lake]\nendpoint_url = http://lake.example:9000\n"
        "aws_access_key_id = a\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("LOSSMAP_DATA_AWS_PROFILE", "lake")
    before = dict(os.environ)
    assert _asked(open_source("s3://lake/images")) == ("lake.example:9000", "a", "")
    assert dict(os.environ) == before
    assert _asked(open_store(s3)) == own
    monkeypatch.delenv("LOSSMAP_DATA_AWS_PROFILE")
    monkeypatch.setenv("LOSSMAP_DATA_AWS_ACCESS_KEY_ID", "c")
    monkeypatch.setenv("LOSSMAP_DATA_AWS_SECRET_ACCESS_KEY", "d")
    assert _asked(open_source("s3://lake/images")) == ("lake.s3.amazonaws.com", "c", "")


def test_what_users_bring_is_read_with_the_rights_that_the_page_tells(s3, s3_account):
    open_store(s3).write("train/a/1.png", b"1")
    with s3_account(rights("what reads images and weights")):
        source = open_source(s3)
        assert [source.read(key) for key in source.keys("")] == [b"1"]
        assert not source.exists("train/a/2.png")


def test_an_error_of_the_source_names_its_own_variables(s3, monkeypatch):
    missing = "s3://no-such-bucket/x: the bucket does not exist; create it or correct its address"
    assert _message(open_source("s3://no-such-bucket/x").read, "k") == missing
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    told = _message(open_source, "s3://b/x")
    assert told.endswith("; check AWS_ENDPOINT_URL; where it has keys of its own, set LOSSMAP_DATA_AWS_…")
    monkeypatch.setenv("LOSSMAP_DATA_AWS_PROFILE", "nobody")
    told = _message(open_source, "s3://b/x")
    assert "; correct LOSSMAP_DATA_AWS_PROFILE, or write that profile into" in told


def test_stores_share_a_client_as_long_as_the_configuration_stays(s3, monkeypatch, tmp_path):
    first = open_store(f"{s3}/a")._client
    assert open_store(f"{s3}/b")._client is first
    (tmp_path / "no-credentials").write_text("[default]\n")  # somebody signs in
    second = open_store(s3)._client
    assert second is not first
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.example")
    assert open_store(s3)._client is not second


def test_patience_and_checksums_are_as_the_profile_says(s3, monkeypatch, tmp_path):
    ours = open_store(s3)._client.meta.config
    assert (ours.retries["mode"], ours.retries["total_max_attempts"]) == ("standard", 6)
    assert ours.request_checksum_calculation == "when_required"
    (tmp_path / "config").write_text(
        "[default]\nmax_attempts = 3\nretry_mode = adaptive\nrequest_checksum_calculation = when_supported\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    said = open_store(s3)._client.meta.config
    assert (said.retries["mode"], said.retries["total_max_attempts"]) == ("adaptive", 3)
    assert said.request_checksum_calculation == "when_supported"


def test_upload_arguments_that_s3_does_not_know_are_told_by_their_variable(s3, monkeypatch):
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", '{"Encryption": "AES256"}')
    told = _message(open_store(s3).write, "x", b"")
    assert told.startswith("MLFLOW_S3_UPLOAD_EXTRA_ARGS cannot be used: ")
    assert '"Encryption"' in told
