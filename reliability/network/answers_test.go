//go:build check && linux

package network

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A request is one that a behaviour answers.
type request struct {
	http.ResponseWriter
	r       *http.Request
	content []byte // of the file, nil if there is none
	kind    string
	n       int // how often its path was asked for, this time included
}

// notThere is the body of an honest 404.
const notThere = "no such file"

func serveHonestly(w http.ResponseWriter, r *http.Request, content []byte) {
	if content == nil {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, notThere)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(content)))
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

func (r *request) honestly() { serveHonestly(r, r.r, r.content) }

// raw gives f the connection, to say what no web server says.
func (r *request) raw(f func(c *paced)) {
	c, _, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	f(c.(*paced))
}

// from is the offset that a range begins at, 0 without one.
func (r *request) from() int {
	n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.r.Header.Get("Range"), "bytes="), "-"))
	if err != nil {
		return 0
	}
	return n
}

// head is what an honest mirror sends before the body from an offset.
func (r *request) head(from int) string {
	length := fmt.Sprintf("Accept-Ranges: bytes\r\nContent-Length: %d\r\n\r\n", len(r.content)-from)
	if from == 0 {
		return "HTTP/1.1 200 OK\r\n" + length
	}
	return fmt.Sprintf("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n", from, len(r.content)-1, len(r.content)) + length
}

// untilGone waits for the client to give up.
func untilGone(c *paced) { io.Copy(io.Discard, c.Conn) }

// forever sends b until the client has gone.
func forever(w io.Writer, b []byte) {
	for {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

var zeroes = make([]byte, 32<<10)

func half(n int) int { return n / 2 }

// resetAt sends the head and some of what is left of the body, and resets the connection; 0 is before the first byte of an answer.
func resetAt[T int | func(int) int](at T) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		r.raw(func(c *paced) {
			if f, ok := any(at).(func(int) int); ok {
				rest := r.content[r.from():]
				io.WriteString(c, r.head(r.from()))
				c.Write(rest[:f(len(rest))])
			}
			c.reset()
		})
	}
}

func endlessHeaders(m *mirror, r *request) {
	r.raw(func(c *paced) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		forever(c, []byte("X-More: "+strings.Repeat("m", 1000)+"\r\n"))
	})
}

// dripped sends a byte at a time.
func dripped(c *paced, b []byte, pause time.Duration) {
	gone := make(chan struct{})
	go func() { untilGone(c); close(gone) }()
	defer func() { c.Close(); <-gone }()
	for i := range b {
		if _, err := c.Write(b[i : i+1]); err != nil {
			return
		}
		select {
		case <-gone:
			return
		case <-time.After(pause):
		}
	}
	<-gone
}

func drippedHeader(m *mirror, r *request) {
	r.raw(func(c *paced) { dripped(c, []byte(r.head(r.from())), 200*time.Millisecond) })
}

func stalledBody(m *mirror, r *request) {
	r.raw(func(c *paced) {
		rest := r.content[r.from():]
		io.WriteString(c, r.head(r.from()))
		c.Write(rest[:len(rest)/2])
		untilGone(c)
	})
}

func drippedBody(m *mirror, r *request) {
	r.raw(func(c *paced) {
		io.WriteString(c, r.head(r.from()))
		dripped(c, r.content[r.from():], time.Second)
	})
}

func endlessChunked(m *mirror, r *request) {
	r.Write(r.content)
	forever(r, zeroes)
}

func endlessWithLength(m *mirror, r *request) {
	r.raw(func(c *paced) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n")
		c.Write(r.content)
		forever(c, zeroes)
	})
}

// falseLength announces a length that differs from the body's.
func falseLength(by int) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		r.raw(func(c *paced) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(r.content)+by)
			c.Write(r.content)
			c.drained()
		})
	}
}

// rawHeader sends the file after header lines that contradict HTTP.
func rawHeader(lines string) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		r.raw(func(c *paced) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", lines)
			c.Write(r.content)
		})
	}
}

// afterHalf breaks off in the middle of the whole file; what comes next is answered by part: of a bundle each request for the
// remainder, of metadata, for which nobody asks in parts, each further request for the whole.
func afterHalf(part func(m *mirror, r *request)) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		switch {
		case r.r.Method == http.MethodHead:
			r.honestly()
		case r.r.Header.Get("Range") != "" || !isTarget(r.kind) && r.n > 1:
			part(m, r)
		default:
			r.raw(func(c *paced) {
				io.WriteString(c, r.head(0))
				c.Write(r.content[:len(r.content)/2])
				c.drained()
			})
		}
	}
}

// asked is where the part begins that should come now.
func (r *request) asked() int {
	if from := r.from(); from > 0 {
		return from
	}
	return len(r.content) / 2
}

func part200(m *mirror, r *request) {
	r.r.Header.Del("Range")
	r.honestly()
}

func (r *request) send206(contentRange string, body []byte) {
	r.Header().Set("Content-Range", contentRange)
	r.Header().Set("Content-Length", fmt.Sprint(len(body)))
	r.WriteHeader(http.StatusPartialContent)
	r.Write(body)
}

func part206Elsewhere(m *mirror, r *request) {
	at := r.asked() / 2
	r.send206(fmt.Sprintf("bytes %d-%d/%d", at, len(r.content)-1, len(r.content)), r.content[at:])
}

// part206Longer says that it sends more than was asked for or, every other mirror, does so without saying it.
func part206Longer(m *mirror, r *request) {
	at, n := r.asked(), len(r.content)
	more := append(bytes.Clone(r.content[at:]), make([]byte, 100_000)...)
	if m.index%2 == 0 {
		r.send206(fmt.Sprintf("bytes %d-%d/%d", at, n+99_999, n+100_000), more)
		return
	}
	r.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, n-1, n))
	r.WriteHeader(http.StatusPartialContent)
	r.Write(more)
}

func partMultipart(m *mirror, r *request) {
	at, n := r.asked(), len(r.content)
	r.Header().Set("Content-Type", "multipart/byteranges; boundary=PART")
	r.WriteHeader(http.StatusPartialContent)
	fmt.Fprintf(r, "--PART\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %d-%d/%d\r\n\r\n", at, n-1, n)
	r.Write(r.content[at:])
	io.WriteString(r, "\r\n--PART--\r\n")
}

func part416(m *mirror, r *request) {
	r.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(r.content)))
	r.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
}

// partOfAnother goes on with another file of the same length under another ETag.
func partOfAnother(m *mirror, r *request) {
	changed := bytes.Clone(r.content)
	changed[len(changed)*3/4] ^= 1
	serveHonestly(r, r.r, changed)
}

// bomb sends, under an encoding that nobody asked for, what grows to a thousand times its size, without end.
func bomb(encoding string, load func() []byte) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		r.Header().Set("Content-Encoding", encoding)
		forever(r, load())
	}
}

// gzipBomb is 64 MiB of zeroes as gzip.
var gzipBomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 2048 {
		z.Write(zeroes)
	}
	z.Close()
	return b.Bytes()
})

// zstdBomb is 1 GiB of zeroes as one frame of Zstandard, whose blocks are a length and one byte to be repeated.
var zstdBomb = sync.OnceValue(func() []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}
	for i := range 8192 {
		block := 128<<10<<3 | 1<<1
		if i == 8191 {
			block |= 1
		}
		b = append(b, byte(block), byte(block>>8), byte(block>>16), 0)
	}
	return b
})

// status answers with a status and a body.
func status(code int, body string) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		r.WriteHeader(code)
		io.WriteString(r, body)
	}
}

// busy asks to be left alone for a time.
func busy(retryAfter string) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		r.Header().Set("Retry-After", retryAfter)
		r.WriteHeader([]int{http.StatusTooManyRequests, http.StatusServiceUnavailable}[m.index%2])
		r.Write(zeroes)
	}
}

func longHeader(m *mirror, r *request) {
	r.raw(func(c *paced) {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Long: %s\r\nContent-Length: %d\r\n\r\n", strings.Repeat("x", 1<<20), len(r.content))
		c.Write(r.content)
	})
}

func manyHeaders(m *mirror, r *request) {
	r.raw(func(c *paced) {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n", strings.Repeat("X: 1\r\n", 100_000), len(r.content))
		c.Write(r.content)
	})
}

func disposition(m *mirror, r *request) {
	r.Header().Set("Content-Disposition", `attachment; filename="../../../`+stray+`"; filename*=UTF-8''%2e%2e%2f%2e%2e%2f`+stray)
	r.honestly()
}

// fromAnotherRelease answers with what a later release of the same publisher has in this place: validly signed, and not what the other
// files of this mirror belong to.
func fromAnotherRelease(m *mirror, r *request) {
	path := strings.TrimPrefix(r.r.URL.Path, "/")
	if there, ok := m.w.counterparts[path]; ok {
		path = there
	}
	r.content = m.w.other.File(path)
	r.honestly()
}

// fromAnEarlierRelease answers with what the mirror had before its last synchronisation.
func fromAnEarlierRelease(m *mirror, r *request) {
	r.content = m.w.stale.File(strings.TrimPrefix(r.r.URL.Path, "/"))
	r.honestly()
}
