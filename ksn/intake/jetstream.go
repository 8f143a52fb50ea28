package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStreamConfig is what [JetStream] is made of. URL is required; zero stands for the default.
type JetStreamConfig struct {
	URL         string        // of one or more servers, with commas: "nats://host:4222", "tls://host"; may hold a user and a password
	Credentials string        // path of a .creds file; none
	CA          string        // path of PEM certificates that servers are verified with; those of the system
	Stream      string        // AVDB_STATISTICS
	Subject     string        // avdb.statistics
	Dedupe      time.Duration // window in which the stream knows ids, at least a minute; 2 hours
	MaxBytes    int64         // of a stream that is created, the oldest messages go; 1 GiB
	MaxAge      time.Duration // of messages of a stream that is created; unlimited
	Replicas    int           // of a stream that is created; 1
	Timeout     time.Duration // for the acknowledgements of a body, at most; 10 s
	MaxBodies   int           // that are on their way at once; the next ones wait; 64
	Log         *slog.Logger  // connections lost and found; nil: none
}

func (c *JetStreamConfig) complete() error {
	if c.Stream == "" {
		c.Stream = "AVDB_STATISTICS"
	}
	if c.Subject == "" {
		c.Subject = "avdb.statistics"
	}
	if c.Dedupe == 0 {
		c.Dedupe = 2 * time.Hour
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.MaxBodies == 0 {
		c.MaxBodies = 64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.URL == "":
		return errors.New("the URL of the NATS server is missing")
	case c.Dedupe < time.Minute || c.MaxBytes < 0 || c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < c.Dedupe || c.Replicas < 0 || c.Timeout < 0 || c.MaxBodies < 0:
		return fmt.Errorf("stream with a window of %s, %d bytes, %s, %d replicas; %s for %d bodies", c.Dedupe, c.MaxBytes, c.MaxAge, c.Replicas, c.Timeout, c.MaxBodies)
	}
	return nil
}

// JetStream is a [Sink] that publishes each record as a message and waits for the acknowledgements.
type JetStream struct {
	c      JetStreamConfig
	conn   *nats.Conn
	js     jetstream.JetStream
	places chan struct{} // one for each body on its way

	mu    sync.Mutex
	ready bool // the stream was there and is as it should be
}

// OpenJetStream begins to connect, and goes on in the background until [JetStream.Close]: a server that is not there yet, or goes away, is no error
// here but one of Put. Errors are about the configuration.
func OpenJetStream(c JetStreamConfig) (*JetStream, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("intake: %w", err)
	}
	options := []nats.Option{
		nats.Name("avdb statistics"),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent now fails now, and comes again
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.Log.Warn("statistics: connection to NATS lost", "error", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { c.Log.Info("statistics: connected to NATS again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.Log.Warn("statistics: NATS", "error", err) }),
	}
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	if c.CA != "" {
		options = append(options, nats.RootCAs(c.CA))
	}
	conn, err := nats.Connect(c.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("intake: NATS: %w", err)
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncTimeout(c.Timeout), jetstream.WithPublishAsyncMaxPending(1<<20)) // MaxBodies is the limit
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("intake: NATS: %w", err)
	}
	return &JetStream{c: c, conn: conn, js: js, places: make(chan struct{}, c.MaxBodies)}, nil
}

// Close ends the connection. Bodies that are on their way fail.
func (j *JetStream) Close() error {
	j.conn.Close()
	return nil
}

// Put implements [Sink].
func (j *JetStream) Put(ctx context.Context, records []Record) (duplicates int, err error) {
	ctx, cancel := context.WithTimeout(ctx, j.c.Timeout)
	defer cancel()
	select {
	case j.places <- struct{}{}:
		defer func() { <-j.places }()
	case <-ctx.Done():
		return 0, fmt.Errorf("intake: %d bodies wait for NATS: %w", cap(j.places), ctx.Err())
	}
	if err := j.prepare(ctx); err != nil {
		return 0, fmt.Errorf("intake: stream %s: %w", j.c.Stream, err)
	}
	if duplicates, err = j.publish(ctx, records); err != nil {
		if !errors.Is(err, context.Canceled) {
			j.mu.Lock()
			j.ready = false // somebody may have removed or changed the stream
			j.mu.Unlock()
		}
		return 0, fmt.Errorf("intake: stream %s: %w", j.c.Stream, err)
	}
	return duplicates, nil
}

// publish sends all of the records and then waits for all of their acknowledgements.
func (j *JetStream) publish(ctx context.Context, records []Record) (duplicates int, err error) {
	acks := make([]jetstream.PubAckFuture, 0, len(records))
	for _, r := range records {
		ack, err := j.js.PublishAsync(j.c.Subject, r.JSON, jetstream.WithMsgID(r.ID), jetstream.WithExpectStream(j.c.Stream))
		if err != nil {
			return 0, err
		}
		acks = append(acks, ack)
	}
	for _, a := range acks {
		select {
		case ack := <-a.Ok():
			if ack.Duplicate {
				duplicates++
			}
		case err := <-a.Err():
			return 0, err
		case <-ctx.Done():
			return 0, fmt.Errorf("no acknowledgement: %w", ctx.Err())
		}
	}
	return duplicates, nil
}

// prepare creates the stream if it is not there, and refuses one whose acknowledgements promise less than they must.
func (j *JetStream) prepare(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ready {
		return nil
	}
	stream, err := j.js.Stream(ctx, j.c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = j.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: j.c.Stream, Description: "statistics of avdb", Subjects: []string{j.c.Subject}, Storage: jetstream.FileStorage,
			Duplicates: j.c.Dedupe, MaxBytes: j.c.MaxBytes, MaxAge: j.c.MaxAge, Replicas: j.c.Replicas, Discard: jetstream.DiscardOld,
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another intake was faster
			stream, err = j.js.Stream(ctx, j.c.Stream)
		}
	}
	if err != nil {
		return err
	}
	switch c := stream.CachedInfo().Config; {
	case c.Storage != jetstream.FileStorage || c.NoAck:
		return errors.New("it is kept in memory or acknowledges nothing: records would be lost; make it one with file storage and acknowledgements")
	case c.Duplicates < j.c.Dedupe:
		return fmt.Errorf("it knows duplicates for %s, want at least %s: edit its duplicate window, or configure a shorter one here", c.Duplicates, j.c.Dedupe)
	}
	j.ready = true
	return nil
}
