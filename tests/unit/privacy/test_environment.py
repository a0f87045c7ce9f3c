# SPDX-License-Identifier: Apache-2.0
from matting_gateway.privacy.environment import required_environment, scrub_environment


def test_it_keeps_what_is_there_and_adds_what_is_needed() -> None:
    environment = required_environment({"HOME": "/x", "MATTING_LISTEN": "y"}, scrub_memory=True)
    assert environment["HOME"] == "/x"
    assert environment["MATTING_LISTEN"] == "y"
    assert environment["MALLOC_PERTURB_"] == "90"
    assert "tcache_count=0" in environment["GLIBC_TUNABLES"]


def test_what_it_returns_is_all_it_asks_for() -> None:
    once = required_environment({"A": "b"}, scrub_memory=True)
    assert required_environment(once, scrub_memory=True) == once


def test_what_would_print_or_keep_payloads_is_taken_out() -> None:
    environment = required_environment({"GRPC_TRACE": "http", "PILLOW_BLOCKS_MAX": "9"}, scrub_memory=False)
    assert environment.keys().isdisjoint({"GRPC_TRACE", "PILLOW_BLOCKS_MAX"})
    assert environment["GRPC_VERBOSITY"] == "NONE"


def test_without_scrubbing_the_allocator_is_left_alone() -> None:
    assert "MALLOC_PERTURB_" not in required_environment({}, scrub_memory=False)


def test_other_tunables_stay() -> None:
    tunables = scrub_environment({"GLIBC_TUNABLES": "glibc.cpu.x=1:nonsense"})["GLIBC_TUNABLES"].split(":")
    assert "glibc.cpu.x=1" in tunables
    assert "nonsense" not in tunables


def test_the_gateway_gives_large_blocks_back_and_an_engine_keeps_them() -> None:
    gateway = required_environment({}, scrub_memory=True)
    assert f"glibc.malloc.mmap_threshold={2 << 20}" in gateway["GLIBC_TUNABLES"].split(":")
    engine = scrub_environment(gateway)["GLIBC_TUNABLES"].split(":")
    assert [entry for entry in engine if "mmap_threshold" in entry] == [f"glibc.malloc.mmap_threshold={32 << 20}"]


def test_the_gateways_threads_share_an_arena_that_can_be_given_back_and_an_engine_keeps_its_own() -> None:
    gateway = required_environment({}, scrub_memory=True)
    assert "glibc.malloc.arena_max=1" in gateway["GLIBC_TUNABLES"].split(":")
    assert "arena_max" not in scrub_environment(gateway)["GLIBC_TUNABLES"]
