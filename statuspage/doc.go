// Package statuspage is how a server of this project shows itself: a page for people, JSON for programs, metrics for Prometheus, and two
// words for load balancers. All of them are made from one reading of one [Collector], so that they cannot disagree.
//
//	/, /status      HTML, which needs no script and nothing from elsewhere; ?refresh=off keeps it from asking again
//	/status.json    the same reading (below)
//	/metrics        the same numbers for Prometheus, and those of the Go runtime and the process
//	/healthz        200 as long as requests are answered at all; it asks nobody
//	/readyz         200, or 503 and the reason, as the server says ([Status.NotReady])
//
// # What it promises
//
//   - Counting is one atomic addition, without a lock or an allocation, also while somebody looks.
//   - Labels have the values that were declared before, and no others: requests cannot make the memory grow.
//   - Whatever is shown is bounded in length and number, holds no character that is not visible as itself, and is escaped for where it
//     stands. A text from outside (a URL, an error of another server) stays a text.
//   - Only GET and HEAD are answered. Nothing is kept by caches, and a Content-Security-Policy forbids the page everything but its own style.
//   - There is no goroutine, clock or log of its own: the server runs [Collector.Run], or calls [Collector.Sample].
//
// What the page says (addresses of other servers, errors) is for whoever runs the server: the server decides where it listens and who
// may ask.
//
// # Use
//
// A server declares its [Metrics] once, keeps what it counts with, and describes what else there is to see in a function that gives a
// [Status] back. See the example.
//
// # Histories
//
// At the end of each minute of the clock every series is noted; the last 60 minutes are kept and drawn. A minute that was missed
// (a machine that slept) gets the average of its gap, or is unknown where there is no average. A clock that is set back, or forward by
// more than an hour, ends the histories, and no number. Percentiles are of the last hour, not since the start, estimated within the
// buckets as Prometheus does it.
//
// # JSON
//
// One object; what is empty or not known is left out or null. Times are RFC 3339 in UTC; other numbers are plain and in the unit that
// is named beside them ("bytes", "seconds", "ratio": 0 to 1, "timestamp_seconds": since 1970; none: a count).
//
//	schema           1
//	title, server, version
//	now, started     times
//	uptime           seconds
//	level            "ok", "warning" or "critical": the worst of the problems
//	ready            true or false, and then not_ready says why
//	problems         [{level, text, since}]
//	sections         [{title, metrics, rows, tables}]
//	  metrics        [{name, kind, title, help, unit, series, all}]: name as in /metrics; all adds the series up, for headlines
//	    series       [{labels, value, per_minute}] for counters (since the start, and for each minute the increase) and gauges (values);
//	                 [{labels, count, sum, buckets: [{le, count}], p50, p99, p99_per_minute}] for histograms, in seconds.
//	                 Minutes are complete ones, the last one last. Where a percentile is above all buckets, it is the highest bound
//	                 and p50_above or p99_above is true.
//	  rows           [{name, value, unit, level}]
//	  tables         [{title, columns, rows: [[{value, unit, level}]], more}]: more rows there are than shown
//
// # Metrics
//
// Names are avdb_<server>_<name>, with _total, _bytes, _seconds, _timestamp_seconds or _ratio as their unit demands. Besides those that
// the server declares there are
//
//	avdb_<server>_info{version="…"}          1
//	avdb_<server>_start_timestamp_seconds    when the process started
//	avdb_<server>_ready                      1 or 0
//	avdb_<server>_problems{level="…"}        how many there are of each level
//	avdb_<server>_undeclared_total           how often a label was asked for that is not declared: a mistake in the server
//	go_…, process_…                          as client_golang gives them
package statuspage
