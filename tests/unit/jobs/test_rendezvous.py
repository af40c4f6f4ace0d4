from lossmap.components.jobs.rendezvous import options


def test_the_first_pod_is_told_that_the_others_meet_at_it():
    pod = {"PET_MASTER_ADDR": "train-x-node-0-0.train-x", "PET_MASTER_PORT": "29500"}
    endpoint = ["--rdzv-backend=c10d", "--rdzv-endpoint=train-x-node-0-0.train-x:29500"]
    for rank, is_host in (("0", True), ("1", False), ("10", False)):
        environment = pod | {"PET_NODE_RANK": rank}
        conf = f"--rdzv-conf=is_host={is_host},join_timeout=600,read_timeout=600"
        assert options(600, environment) == [*endpoint, conf]
        assert environment == pod
