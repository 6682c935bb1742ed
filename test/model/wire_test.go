// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// rnd is a generator of its own for each thing: what one draws does not move another's luck.
func rnd(parts ...uint64) *rand.Rand {
	a, b := uint64(0x9e3779b97f4a7c15), uint64(0xc2b2ae3d27d4eb4f)
	for _, p := range parts {
		a = (a ^ p) * 0xff51afd7ed558ccd
		a ^= a >> 32
		b = (b + a) * 0xc4ceb9fe1a85ec53
		b ^= b >> 29
	}
	return rand.New(rand.NewPCG(a, b))
}

func text(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// body is n bytes that nobody else's body has in that place.
func body(key uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byteOf(key, i)
	}
	return b
}

func byteOf(key uint64, i int) byte { return byte((key + uint64(i)*0x9e3779b97f4a7c15) >> 27) }

// chunked frames b in chunks of at most so many bytes, with trailers.
func chunked(b []byte, most int, r *rand.Rand, trailers string) []byte {
	var out []byte
	for len(b) > 0 {
		n := min(len(b), 1+r.IntN(most))
		out = fmt.Appendf(out, "%x\r\n", n)
		out = append(append(out, b[:n]...), "\r\n"...)
		b = b[n:]
	}
	return append(out, "0\r\n"+trailers+"\r\n"...)
}

// message is a request or an answer as it comes in: strict, and no code of the product's.
type message struct {
	start   string
	fields  []string // "name: value"
	size    int      // of the body so far
	wrong   bool     // the body is not what key says
	key     uint64
	trailer string
	how     framing
	left    int
}

type framing int

const (
	none framing = iota
	byLength
	byChunks
	byClose
)

func (m *message) field(name string) string {
	for _, f := range m.fields {
		if n, v, _ := strings.Cut(f, ": "); strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

func (m *message) status() int {
	if len(m.start) < 12 {
		return 0
	}
	n, _ := strconv.Atoi(m.start[9:12])
	return n
}

// reader takes messages apart. onHead may set the message's key, and its framing for an answer without a body.
type reader struct {
	answers bool
	onHead  func(*message)
	onData  func(*message)
	onEnd   func(*message)
	raw     func([]byte) // what follows is no HTTP: it goes there

	msg   *message
	at    int // what is awaited
	line  []byte
	wrong string // what is no HTTP; nothing is read after it
}

const (
	atHead = iota
	atBody
	atSize
	atChunk
	atChunkEnd
	atTrailer
)

// idle reports whether no message has begun.
func (r *reader) idle() bool { return r.msg == nil && len(r.line) == 0 }

func (r *reader) feed(b []byte) {
	for len(b) > 0 && r.wrong == "" {
		if r.raw != nil {
			r.raw(b)
			return
		}
		switch r.at {
		case atBody, atChunk:
			n := len(b)
			if r.msg.how != byClose {
				n = min(n, r.msg.left)
			}
			for i, c := range b[:n] {
				if c != byteOf(r.msg.key, r.msg.size+i) {
					r.msg.wrong = true
				}
			}
			r.msg.size += n
			r.msg.left -= n
			b = b[n:]
			r.onData(r.msg)
			if r.msg == nil || r.msg.left > 0 || r.msg.how == byClose {
				continue
			}
			if r.at == atChunk {
				r.at = atChunkEnd
			} else {
				r.end()
			}
		default:
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				r.line = append(r.line, b...)
				return
			}
			r.line = append(r.line, b[:i+1]...)
			b = b[i+1:]
			if !bytes.HasSuffix(r.line, []byte("\r\n")) {
				r.wrong = fmt.Sprintf("a line ends in bare LF: %q", r.line)
				return
			}
			s := string(r.line[:len(r.line)-2])
			r.line = r.line[:0]
			r.onLine(s)
		}
	}
}

func (r *reader) onLine(s string) {
	switch r.at {
	case atHead:
		switch {
		case r.msg == nil:
			r.msg = &message{start: s}
			if ok := strings.HasPrefix(s, "HTTP/1.1 ") || strings.HasPrefix(s, "HTTP/1.0 "); r.answers && !ok ||
				!r.answers && !strings.HasSuffix(s, " HTTP/1.1") {
				r.wrong = fmt.Sprintf("not the first line of a message: %q", s)
			}
		case s != "":
			if !strings.Contains(s, ": ") && !strings.HasSuffix(s, ":") {
				r.wrong = fmt.Sprintf("not a field: %q", s)
			}
			r.msg.fields = append(r.msg.fields, s)
		default:
			r.head()
		}
	case atSize:
		n, err := strconv.ParseUint(s, 16, 31)
		switch {
		case err != nil:
			r.wrong = fmt.Sprintf("not a chunk's size: %q", s)
		case n == 0:
			r.at = atTrailer
		default:
			r.msg.left = int(n)
			r.at = atChunk
		}
	case atChunkEnd:
		if s != "" {
			r.wrong = "a chunk is longer than it says"
		}
		r.at = atSize
	case atTrailer:
		if s == "" {
			r.end()
		} else {
			r.msg.trailer += s + "\n"
		}
	}
}

func (r *reader) head() {
	m := r.msg
	switch length, coding := m.field("Content-Length"), m.field("Transfer-Encoding"); {
	case length != "" && coding != "":
		r.wrong = "both Content-Length and Transfer-Encoding"
		return
	case coding != "":
		m.how = byChunks
	case length != "":
		n, err := strconv.Atoi(length)
		if err != nil {
			r.wrong = "Content-Length: " + length
			return
		}
		m.how, m.left = byLength, n
	case r.answers && m.status() >= 200:
		m.how = byClose
	}
	if s := m.status(); r.answers && (s < 200 || s == 204 || s == 304) {
		m.how = none
	}
	r.onHead(m)
	if r.msg == nil {
		return
	}
	switch {
	case m.how == byChunks:
		r.at = atSize
	case m.how == byClose, m.how == byLength && m.left > 0:
		r.at = atBody
	default:
		r.end()
	}
}

func (r *reader) end() {
	m := r.msg
	r.msg, r.at = nil, atHead
	r.onEnd(m)
}
