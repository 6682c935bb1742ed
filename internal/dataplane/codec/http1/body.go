// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"math"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

type bodyState uint8

const (
	ended bodyState = iota // nothing is left but to say so
	fixed                  // left bytes
	untilClose
	chunkSize    // digits
	chunkExt     // extensions, skipped
	chunkLF      // of the chunk-size line
	chunkData    // left bytes
	chunkDataCR  // behind the data
	chunkDataLF  // behind the data
	trailerLines // behind the last chunk
)

// body decodes what follows a head (RFC 9112 §6, §7).
type body struct {
	state  bodyState
	left   int64 // bytes of the body or chunk
	digits int   // of the chunk size so far
	line   int   // bytes of the chunk-size line so far
	excess int   // see MaxChunkExcess
	data   []byte
	trailerSection
}

func (d *body) start(length int64, chunked bool) {
	d.digits, d.line, d.excess, d.left = 0, 0, 0, length
	switch {
	case chunked:
		d.state, d.left = chunkSize, 0
	case length > 0:
		d.state = fixed
	case length == 0:
		d.state = ended
	default:
		d.state = untilClose
	}
}

// next is Next behind the head.
func (d *body) next(b []byte) (ev Event, n int, err *codec.Error) {
	for {
		switch d.state {
		case ended:
			return End, n, nil
		case fixed, chunkData, untilClose:
			if n == len(b) {
				return More, n, nil
			}
			return Data, n + d.take(b[n:]), nil
		case trailerLines:
			used, done, err := d.feed(b[n:])
			n += used
			if err != nil {
				return More, n, err
			}
			if !done {
				return More, n, nil
			}
			d.state = ended
		default:
			if n == len(b) {
				return More, n, nil
			}
			if err := d.frame(b[n]); err != nil {
				return More, n, err
			}
			n++
		}
	}
}

// take makes data what b has of the body.
func (d *body) take(b []byte) int {
	if d.state == untilClose {
		d.data = b
		return len(b)
	}
	n := int(min(int64(len(b)), d.left))
	d.data = b[:n:n]
	if d.left -= int64(n); d.left == 0 {
		if d.state == fixed {
			d.state = ended
		} else {
			d.state = chunkDataCR
		}
	}
	return n
}

// frame takes one byte of the chunks' framing (RFC 9112 §7.1).
func (d *body) frame(c byte) *codec.Error {
	switch d.state {
	case chunkDataCR:
		if c != '\r' {
			return malformed(detailCodec, "chunk longer than its size", nil)
		}
		d.state = chunkDataLF
		return nil
	case chunkDataLF:
		if c != '\n' {
			return malformed(detailCodec, "bare cr after a chunk", nil)
		}
		d.state, d.line, d.digits = chunkSize, 0, 0
		return nil
	}
	if d.line++; d.line >= MaxChunkLine {
		return malformed(detailCodec, "chunk-size line over its limit", nil)
	}
	if d.state == chunkLF {
		if c != '\n' {
			return malformed(detailCodec, "bare cr in a chunk-size line", nil)
		}
		return d.sizeDone()
	}
	if d.state == chunkSize && class[c]&inHex != 0 {
		digit := int64(c & 0xf)
		if c > '9' {
			digit += 9
		}
		if d.digits++; d.digits > 16 || d.left > (math.MaxInt64-digit)>>4 {
			return malformed(detailCodec, "chunk size over its limit", nil)
		}
		d.left = d.left<<4 | digit
		return nil
	}
	switch {
	case d.digits == 0:
		return malformed(detailCodec, "no chunk size", nil)
	case c == '\r':
		d.state = chunkLF
	case c == ';':
		d.state = chunkExt // no whitespace before it: RFC 9112 §7.1.1 allows some, nobody sends it, and parsers differ
	case d.state == chunkExt && (c == '\t' || c >= ' ' && c != 0x7f):
	default:
		return malformed(detailCodec, "byte %q in a chunk-size line", []byte{c})
	}
	return nil
}

// sizeDone ends a chunk-size line.
func (d *body) sizeDone() *codec.Error {
	// Framing that costs a multiple of the data it frames is an attack, or will be used for one.
	const free = 16
	if d.left < MaxChunkExcess {
		d.excess = max(d.excess+d.line+len(ChunkEnd)-free-2*int(d.left), 0)
	} else {
		d.excess = 0
	}
	if d.excess > MaxChunkExcess {
		return malformed(detailCodec, "chunk framing over its limit", nil)
	}
	if d.left > 0 {
		d.state = chunkData
	} else {
		d.state = trailerLines
		d.trailerSection.start()
	}
	return nil
}
