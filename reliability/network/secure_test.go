//go:build check && linux

package network

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

func expiredCertificate(m *mirror, _ tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate(m.host, time.Now().Add(-time.Hour))}}
}

func othersCertificate(m *mirror, _ tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate("127.0.0.1", time.Now().Add(time.Hour))}}
}

func onlyTLS10(m *mirror, good tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}
}

// Frames of HTTP/2.
const (
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	frameGoAway   = 7

	endHeaders = 4
	ack        = 1
)

func frame(w io.Writer, kind, flags byte, stream uint32, payload []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	w.Write(append(b, payload...))
}

// words are 32-bit numbers of a frame.
func words(n ...uint32) (b []byte) {
	for _, v := range n {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// brokenHTTP2 speaks HTTP/2 from the file on. Each request meets another end, in turn: the connection given up before the
// request was looked at, the stream refused, the stream reset in mid-body, the connection given up in mid-body.
func brokenHTTP2(m *mirror, c *paced) {
	s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate(m.host, time.Now().Add(time.Hour))}, NextProtos: []string{"h2"}})
	defer s.Close()
	preface := make([]byte, 24)
	if _, err := io.ReadFull(s, preface); err != nil || !bytes.HasPrefix(preface, []byte("PRI * HTTP/2.0")) {
		return
	}
	frame(s, frameSettings, 0, 0, nil)
	content := m.tree.File(m.w.pathOf(m.file))
	answer := func(stream uint32) {
		length := fmt.Sprint(len(content))
		// :status 200 by its index, then content-length by its index with a literal value
		frame(s, frameHeaders, endHeaders, stream, append([]byte{0x88, 0x0f, 0x0d, byte(len(length))}, length...))
		for rest := content[:len(content)/2]; len(rest) > 0; {
			n := min(len(rest), 8<<10)
			frame(s, frameData, 0, stream, rest[:n])
			rest = rest[n:]
		}
	}
	header := make([]byte, 9)
	for {
		if _, err := io.ReadFull(s, header); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(header) >> 8
		if _, err := io.CopyN(io.Discard, s, int64(length)); err != nil {
			return
		}
		stream := binary.BigEndian.Uint32(header[5:]) & (1<<31 - 1)
		switch header[3] {
		case frameSettings:
			if header[4]&ack == 0 {
				frame(s, frameSettings, ack, 0, nil)
			}
		case frameHeaders:
			switch m.turns.Add(1) % 4 {
			case 1:
				frame(s, frameGoAway, 0, 0, words(0, 0))
				c.drained()
				return
			case 2:
				frame(s, frameReset, 0, stream, words(7))
			case 3:
				answer(stream)
				frame(s, frameReset, 0, stream, words(2))
			case 0:
				answer(stream)
				frame(s, frameGoAway, 0, 0, words(stream, 11))
				c.drained()
				return
			}
		}
	}
}
