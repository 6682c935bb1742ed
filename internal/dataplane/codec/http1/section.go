// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bytes"
	"math/bits"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

var sectionEnd = []byte("\r\n\r\n")

// gather appends to buf those of the first room bytes of b that belong to its section, a run of lines that ends with
// an empty one. It returns buf, how many bytes it took, and the end of the last complete line in buf if one was
// completed now, else 0. Every byte is looked at a fixed number of times, however the section arrives.
func gather(buf, b []byte, room int) (out []byte, n, lines int) {
	n = min(len(b), room)
	matched := 0
	switch { // how much of the end buf has already
	case bytes.HasSuffix(buf, sectionEnd[:3]):
		matched = 3
	case bytes.HasSuffix(buf, sectionEnd[:2]):
		matched = 2
	case bytes.HasSuffix(buf, sectionEnd[:1]):
		matched = 1
	}
	if rest := sectionEnd[matched:]; matched > 0 && bytes.HasPrefix(b[:n], rest) {
		n = len(rest)
		lines = len(buf) + n
	} else if i := bytes.Index(b[:n], sectionEnd); i >= 0 {
		n = i + len(sectionEnd)
		lines = len(buf) + n
	} else if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
		lines = len(buf) + i + 1
	}
	return append(grow(buf, n), b[:n]...), n, lines
}

// grow returns buf with room for n more bytes and slack. Slices of the old memory stay good: nothing overwrites it.
func grow(buf []byte, n int) []byte {
	need := len(buf) + n + slack
	if need <= cap(buf) {
		return buf
	}
	return append(make([]byte, 0, max(1<<10, 1<<bits.Len(uint(need-1)))), buf...)
}

// emptyLine reports whether the complete line that begins at i is empty.
func emptyLine(b []byte, i int) bool { return b[i] == '\r' && b[i+1] == '\n' }

// fieldLine parses the complete line that begins at i (RFC 9112 §5): the name ends before colon, the value is b[v:e],
// the next line begins at next. b has slack behind its lines.
func fieldLine(b []byte, i int) (colon, v, e, next int, err *codec.Error) {
	colon = i
	for class[b[colon]]&inToken != 0 {
		colon++
	}
	if colon == i || b[colon] != ':' {
		return 0, 0, 0, 0, badName(b, i, colon)
	}
	v = colon + 1
	for b[v] == ' ' || b[v] == '\t' {
		v++
	}
	e = textEnd(b, v)
	if b[e] != '\r' || b[e+1] != '\n' {
		return 0, 0, 0, 0, badByte(b[i:colon], b[e])
	}
	next = e + 2
	for e > v && (b[e-1] == ' ' || b[e-1] == '\t') {
		e--
	}
	return colon, v, e, next, nil
}

func badName(b []byte, i, at int) *codec.Error {
	switch c := b[at]; {
	case at == i && (c == ' ' || c == '\t'):
		return malformed(detailCodec, "line folding", nil) // RFC 9112 §5.2
	case at == i && (c == '\r' || c == '\n'):
		return malformed(detailCodec, "bare cr or lf at the start of a line", nil) // RFC 9112 §2.2
	case at == i && c == ':':
		return malformed(detailCodec, "empty field name", nil)
	case c == ' ' || c == '\t':
		return malformed(detailCodec, "whitespace after the field name %q", b[i:at]) // RFC 9112 §5.1
	case c == '\r' || c == '\n':
		return malformed(detailCodec, "no colon after the field name %q", b[i:at])
	default:
		return malformed(detailCharacters, "byte %q in a field name", b[at:at+1])
	}
}

func badByte(name []byte, c byte) *codec.Error {
	switch c {
	case '\r':
		return malformed(detailCharacters, "bare cr in the value of %q", name)
	case '\n':
		return malformed(detailCharacters, "bare lf in the value of %q", name)
	default:
		return malformed(detailCharacters, "control byte in the value of %q", name)
	}
}
