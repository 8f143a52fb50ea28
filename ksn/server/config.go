package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// A Known is what a database says of one hash.
type Known struct {
	Sum     [32]byte // the first Algorithm.Size() bytes; the others are zero
	Size    uint32   // of the objects that are meant, in bytes; dbformat.AnySize for all
	Name    string   // of the signature
	PUA     bool     // potentially unwanted
	Allowed bool     // an allow record: counts by SHA-256 only, and cancels detections of the same hash
}

// Counts say how much is known.
type Counts struct {
	Release  uint64 // of the database
	Files    uint64 // keys of files
	URLs     uint64 // keys of URLs, one for each expression that is listed
	Software uint64
}

// A Database knows files and URLs by their hashes, one release at a time. Its methods are called by many goroutines at once.
type Database interface {
	// WithPrefixes calls visit for everything that is known of hashes with one of values as their first bits (16 to 32 of them, in the low bits of a value)
	// until it returns false, all of it from the release that it names: for one value after the other, of which visit is told the place. Names
	// that are passed to visit stay valid. An error means that the question cannot be answered now.
	WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(at int, k Known) bool) (release uint64, err error)
	// WithURLPrefixes does the same for URLs, which are known by the SHA-256 of their expressions.
	WithURLPrefixes(bits uint8, values []uint32, visit func(at int, k Known) bool) (release uint64, err error)
	// Counts are those of the release that the other methods answer from; the error says why none can be used.
	Counts() (Counts, error)
}

// Content names what a database answers from: another one for other answers. It may be a hash.
type Content [64]byte

// A Teller is a Database that tells what it answers from, so that answers to batches can be kept for as long as that is the same.
type Teller interface {
	// Content is that of what WithPrefixes and WithURLPrefixes answer from now, and its release; the error says why they cannot.
	Content() (c Content, release uint64, err error)
}

// A Source knows more than the database: software, or more files and URLs. Its methods are called by many goroutines at once.
type Source interface {
	// Entries calls visit for each entry that begins with p, in any order, until it returns false. An entry that breaks the protocol makes the
	// answer fail; lives of less than eight minutes are made as long as that, or as the shortest of Config.Lives if that is shorter.
	Entries(p protocol.Prefix, visit func(protocol.Entry) bool) error
	// Counts are of what is known; Release is not looked at.
	Counts() Counts
}

// An Intake takes statistics. It is not told who sent them.
type Intake interface {
	// Take keeps a record, which is its own from now on: 1 to protocol.MaxStats bytes of JSON ("application/json") or JSON lines ("application/x-ndjson"), as
	// contentType says, not looked at. An error that matches [protocol.ErrInvalid] refuses the record for good and is shown to the sender;
	// any other one means that it may be sent again.
	Take(ctx context.Context, contentType string, record []byte) error
}

// A Limit is how many requests a client may send.
type Limit = serving.Limit

// The default limit: that of the clients of this project.
const (
	DefaultPerSecond = 20
	DefaultBurst     = 100
)

// Lives are how long answers hold. 0 stands for the default; whole seconds, at least [MinLife].
type Lives struct {
	Entry   time.Duration // of entries that are not trusted, at most protocol.MaxLife; 4 hours
	Trusted time.Duration // of trusted ones, at most protocol.MaxTrustedLife; 24 hours
	Silence time.Duration // of that nothing else is known, at most protocol.MaxLife; 1 hour
	Info    time.Duration // of what the server offers, at most protocol.MaxLife; 1 hour
}

// DefaultKeepBytes is enough for the answers to about 90,000 prefixes with an entry each.
const DefaultKeepBytes = 32 << 20

// MinLife is the shortest life of an answer that can be chosen.
const MinLife = 10 * time.Second

func (l *Lives) complete() error {
	for _, x := range []struct {
		name      string
		life      *time.Duration
		def, most time.Duration
	}{
		{"entries", &l.Entry, 4 * time.Hour, protocol.MaxLife},
		{"trusted entries", &l.Trusted, 24 * time.Hour, protocol.MaxTrustedLife},
		{"silence", &l.Silence, time.Hour, protocol.MaxLife},
		{"info", &l.Info, time.Hour, protocol.MaxLife},
	} {
		if *x.life == 0 {
			*x.life = x.def
		}
		if *x.life < MinLife || *x.life > x.most || *x.life%time.Second != 0 {
			return fmt.Errorf("life of %s: %s, want whole seconds from %s to %s", x.name, *x.life, MinLife, x.most)
		}
	}
	return nil
}

// step is that of the time of issue: no life loses more than an eighth by it.
func (l *Lives) step() time.Duration {
	return max(time.Second, min(time.Minute, (l.shortest()/8).Truncate(time.Second)))
}

func (l *Lives) shortest() time.Duration { return min(l.Entry, l.Trusted, l.Silence, l.Info) }

func inSeconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// Config is what a [Server] is made of. Provider, Key and Database are required.
type Config struct {
	Provider  *protocol.ProviderFile // of the network
	Key       *protocol.SigningKey   // one of the provider's reputation keys
	Database  Database
	Sources   []Source   // asked besides the database
	Overrides []Override // see [Server.SetOverrides]
	Tokens    []Token    // see [Server.SetTokens]
	Intake    Intake     // nil: no statistics are taken
	Limit     Limit      // of each client, where its token has none of its own
	Lives     Lives

	// KeepBytes is how much memory answers to batches may take that are kept to be given again, in bytes, where Database is a [Teller] and there are no
	// Sources; 0 for DefaultKeepBytes, negative for none.
	KeepBytes int

	PrefixBits uint8         // that clients should ask with; 0 for protocol.DefaultBits
	Statement  int           // newest version of the provider's statement; 0 for that of the engine
	MinWait    time.Duration // between two requests for info; 0 for a minute

	Client      func(*http.Request) string // names who sends a request without a token, as a load balancer tells it, in 128 bytes; nil: by its address
	Status      http.Handler               // the status page; nil: none
	Collector   Collector                  // nil: nothing is counted
	Log         *slog.Logger               // nil: none
	LogRequests bool                       // write paths, with their prefixes, and clients into the log, too
	Now         func() time.Time           // nil: time.Now
}

func (c *Config) complete() error {
	switch {
	case c.Provider == nil || c.Key == nil || c.Database == nil:
		return errors.New("a provider, a key and a database are needed")
	case !slices.ContainsFunc(c.Provider.Provider.Keys, func(k []byte) bool { return bytes.Equal(k, c.Key.Public()) }):
		return fmt.Errorf("the provider file does not name the key %s: clients would refuse every answer", c.Key.ID())
	case c.Statement < 0 || c.Statement > 1e6:
		return fmt.Errorf("statement version %d", c.Statement)
	case c.MinWait < 0 || c.MinWait > protocol.MaxLife:
		return fmt.Errorf("%s between two requests for info, want at most %s", c.MinWait, protocol.MaxLife)
	}
	if c.KeepBytes == 0 {
		c.KeepBytes = DefaultKeepBytes
	}
	if c.PrefixBits == 0 {
		c.PrefixBits = protocol.DefaultBits
	}
	if c.PrefixBits < protocol.MinBits || c.PrefixBits > protocol.MaxBits {
		return fmt.Errorf("prefixes of %d bits, want %d to %d", c.PrefixBits, protocol.MinBits, protocol.MaxBits)
	}
	if c.MinWait == 0 {
		c.MinWait = time.Minute
	}
	if c.Collector == nil {
		c.Collector = nobody{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Sources = slices.Clone(c.Sources)
	c.Limit = c.Limit.OrElse(Limit{PerSecond: DefaultPerSecond, Burst: DefaultBurst})
	return errors.Join(c.Limit.Check(), c.Lives.complete())
}
