-- Prints wrk's own figures as one line of JSON, exact to the microsecond. Runs once, after the load.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'bench-summary {"requests":%d,"duration_us":%d,"failed":%d,"p50_us":%.1f,"p99_us":%.1f}\n',
    summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
