"""What is asked of a server beside what MLflow's client asks."""

import http.server
import json
import threading

import pytest

from lossmap.components.core.errors import TrackingError
from lossmap.components.stores.tracking import rest


@pytest.fixture
def server(tmp_path):
    """A server that keeps artifacts in a folder of its disk: its address, and the folder."""
    folder = tmp_path / "server"
    folder.mkdir()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            files = [{"path": path.name} for path in folder.iterdir()]
            self.wfile.write(json.dumps({"files": files} if files else {}).encode())

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", folder
        listening.shutdown()


def test_a_folder_that_server_and_client_share_is_taken(server):
    uri, folder = server
    for place in (str(folder), folder.as_uri()):
        rest.check_folder(uri, "r", place)
    assert list(folder.iterdir()) == []


def test_a_folder_of_the_servers_own_disk_is_refused_and_nothing_is_left_here(server, tmp_path):
    uri, _ = server
    (tmp_path / "file").touch()
    for place in (tmp_path / "a" / "b", tmp_path / "file" / "below"):
        with pytest.raises(TrackingError) as told:
            rest.check_folder(uri, "r", str(place))
        assert f"it keeps them in {place} on its own disk, which is not this machine's" in str(told.value)
    assert {path.name for path in tmp_path.iterdir()} == {"server", "file"}
