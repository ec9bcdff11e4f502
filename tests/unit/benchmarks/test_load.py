"""What wrk prints, and what is made of it."""

from __future__ import annotations

import pytest

from benchmarks.load import Load, parse
from benchmarks.processes import BenchError

OUTPUT = """\
Running 2s test @ http://127.0.0.1:8080/direct
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.31ms  812.00us  24.46ms   90.00%
  24000 requests in 2.01s, 4.01MB read
Requests/sec:  12000.00
bench-summary {"requests":24000,"duration_us":2000000,"failed":3,"p50_us":5310.5,"p99_us":9000.0}
"""


def test_the_summary_line_becomes_a_load_in_seconds() -> None:
    load = parse(OUTPUT)

    assert load == Load(requests=24000, seconds=2.0, failed=3, p50=pytest.approx(0.0053105), p99=pytest.approx(0.009))
    assert load.rate == 12000


def test_output_without_the_summary_is_an_error_that_shows_it() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused")
