import json
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfprune.cluster import Cluster, cluster_of, meet
from tfprune.errors import TfpruneError, UsageError


def config(cluster, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


def test_workers_come_in_the_order_of_their_index_the_chief_first():
    cluster = {"worker": ["b:1", "c:2"], "chief": ["a:3"]}
    assert cluster_of(config(cluster, "worker", 1)) == Cluster(("a:3", "b:1", "c:2"), 2)
    assert cluster_of(config(cluster, "chief", 0)) == Cluster(("a:3", "b:1", "c:2"), 0)
    assert cluster_of(config({"worker": ["b:1", "[::1]:2"]}, "worker", 1)).number == 1


FAULTS = {
    None: "needs the environment variable TF_CONFIG.*it is not set",
    "": "it is not set",
    "{": "must be JSON",
    "[]": "needs an object 'cluster'",
    '{"cluster": {"worker": ["a:1"]}}': "needs an object 'task'",
    '{"cluster": [], "task": {}}': "needs an object 'cluster'",
    config({"ps": ["a:1"], "worker": ["b:1"]}): "workers and a chief only.*'ps'",
    config({"worker": "a:1"}): "needs a list of \"host:port\" under 'worker'",
    config({"worker": ["a"]}): 'needs a list of "host:port"',
    config({"worker": ["a:99999"]}): 'needs a list of "host:port"',
    config({"worker": ["a:1", "a:1"]}): "names an address twice",
    config({"chief": ["a:1", "b:1"]}, "chief"): "one chief only",
    config({"worker": ["a:1", "b:1"]}, index=2): "worker 2, but its cluster has 2 workers",
    config({"worker": ["a:1"]}, index=-1): "worker -1, but its cluster has 1 worker",
    config({"worker": ["a:1"]}, "chief"): "chief 0, but its cluster has 1 worker",
    config({}): "its cluster has nobody",
    config({"worker": ["a:1"]}, index="0"): "needs a whole number 'index'",
    config({"worker": ["a:1"]}, index=True): "needs a whole number 'index'",
}


@pytest.mark.parametrize("text", FAULTS)
def test_each_fault_of_tf_config_has_its_message(text):
    with pytest.raises(UsageError, match=FAULTS[text]) as error:
        cluster_of(text)
    assert "\n" not in str(error.value) and "host1:2222" in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["worker", "chief"]), inner),
)


@given(
    st.text() | st.dictionaries(st.sampled_from(["cluster", "task"]), json_values).map(json.dumps)
)
def test_whatever_stands_in_tf_config_is_a_cluster_or_a_usage_error(text):
    try:
        cluster = cluster_of(text)
    except UsageError:
        return
    assert 0 <= cluster.number < len(cluster.addresses)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_worker_that_does_not_appear_is_named_in_time():
    ports = [free_port(), free_port()]
    cluster = Cluster(tuple(f"127.0.0.1:{port}" for port in ports), 0)
    began = time.monotonic()
    with pytest.raises(TfpruneError, match=rf"within 0.3 seconds from worker 1 .*:{ports[1]}"):
        meet(cluster, seconds=0.3)
    assert time.monotonic() - began < 10


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        cluster = Cluster((f"127.0.0.1:{port}",), 0)
        with pytest.raises(TfpruneError, match=f"the chief .* cannot listen on port {port}"):
            meet(cluster)


def test_workers_that_answer_meet_and_leave_the_port_free():
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        meet(Cluster((address, f"127.0.0.1:{port}"), 1))
    socket.create_server(("", port)).close()
