// Package intake takes statistics on a server, checks them, and hands them to a [Sink]: files, or a stream of NATS JetStream. It is not told who sent
// them and keeps nothing but the records.
//
// It promises:
//   - Only what [statistics.ParseRecord] takes is kept, byte for byte as it came.
//   - At least once: [Intake.Take] returns nil only after the sink has made the records durable. A sender that got no answer sends them again.
//   - Each record once: a record whose id the sink knows is counted as a duplicate and not kept again. Sinks remember a bounded number of ids (files)
//     or a bounded time (JetStream).
//   - Memory is bounded: who sends faster than the sink keeps has to wait, and is refused in the end.
//
// # Files
//
// [Files] keeps JSON lines in a folder, in files of mode 0600:
//
//	stats-00000001-2026-03-01.ndjson      a number that grows from file to file, and the day (UTC) on which it was begun
//
// A file is closed by day and by size; the oldest go so that all together stay below a limit. A line is acknowledged after it was written and
// synced; lines that arrive while others are share the next sync, and unless there is a lot to write there are at most ten a second. At
// the start, a last line that a crash left torn is cut: it was never acknowledged, and its sender sends it again. A folder belongs to one process.
//
// # JetStream
//
// [JetStream] publishes each record as a message with its id as Nats-Msg-Id, so that the stream itself refuses duplicates within its window, and
// waits for the acknowledgements. How durable these are is a matter of the server: one that runs alone syncs its files every two minutes by
// default, so that a power cut there can take acknowledged records (a killed process takes none). Use three replicas, or sync_interval: always.
package intake
