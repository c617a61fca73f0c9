"""What the network between hosts does to packets, and that hosts are apart."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .hosts import SKIPPED
from .network import Host, Link, Switch, missing

_CHANCE = random.Random(0)
_ASK = "import socket; s = socket.create_connection(('{}', 80), timeout=1); print(s.recv(9).decode())"
_ANSWER = """
import socket
listening = socket.create_server(('', 80))
print('ready', flush=True)
while True:
    listening.accept()[0].send(b'answer')
"""


@given(delay=st.floats(0, 10), rate=st.integers(1000, 10**6), sizes=st.lists(st.integers(20, 1500), min_size=1, max_size=50))
def test_packets_arrive_in_their_order_and_no_faster_than_the_link(delay: float, rate: int, sizes: list[int]) -> None:
    link = Link(delay_s=delay, rate=rate)
    arrivals = [arrival for size in sizes if (arrival := link.arrival(size, 5.0, _CHANCE)) is not None]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] == pytest.approx(5 + sizes[0] / rate + delay)
    assert arrivals[-1] <= 5 + delay + 1 + 2 * 1500 / rate, "what would have to wait longer than a second is lost"


def test_some_packets_are_lost_and_all_where_a_link_is_cut() -> None:
    lossy = Link(lost=0.2)
    assert 150 < sum(lossy.arrival(100, 0.0, _CHANCE) is None for _ in range(1000)) < 250
    assert Link(is_cut=True).arrival(100, 0.0, _CHANCE) is None


@pytest.fixture
def pair() -> Iterator[tuple[Host, Host]]:
    """Two hosts, the second of which answers."""
    if reason := missing():
        pytest.skip(reason)
    switch = Switch()
    hosts = Host("one", 11, switch), Host("other", 12, switch)
    for host in hosts:
        host.start()
    server = subprocess.Popen(hosts[1].command("python3", "-c", _ANSWER), stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    yield hosts
    for host in hosts:
        host.vanish()
    assert server.wait(10) != 0, "what ran on a host has gone with it"


def asked(host: Host, other: Host) -> str:
    done = subprocess.run(host.command("python3", "-c", _ASK.format(other.address)), capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]


def test_a_network_splits_each_way_and_heals(pair: tuple[Host, Host]) -> None:
    one, other = pair
    assert asked(one, other) == "answer"
    for out, back in ((True, False), (False, True)):
        one.cut(other, out=out, back=back)
        assert "timed out" in asked(one, other)
        one.switch.heal()
        assert asked(one, other) == "answer"


def test_a_host_has_a_tmp_and_a_name_of_its_own(pair: tuple[Host, Host]) -> None:
    one, _ = pair
    subprocess.run(one.command("touch", "/tmp/there"), check=True)
    said = [subprocess.run(host.command("sh", "-c", "hostname; ls /tmp"), capture_output=True, text=True).stdout for host in pair]
    assert said == ["one\nthere\n", "other\n"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_jobs_over_hosts_lose_nothing() -> None:
    """See `hosts` for the long form."""
    command = [sys.executable, "-m", "tests.chaos.hosts", "--short"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    print(done.stdout)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
