// SPDX-License-Identifier: Apache-2.0

package http1

import "github.com/umbra-mesh/umbra/internal/dataplane/codec"

// trailerSection decodes the lines behind the last chunk (RFC 9112 §7.1.2). Its memory is made when a message has
// trailers and kept for the next such message only if it is small.
type trailerSection struct {
	buf    []byte // begins with the last chunk's CRLF, so that its end looks like a head's
	at     int    // where the first line begins that was not parsed yet
	count  int    // fields, with those that were dropped
	fields []codec.Field
}

func (d *trailerSection) reset() {
	if cap(d.buf) > 1<<10 {
		d.buf = nil
		clear(d.fields) // which lie in it
	}
	d.buf, d.fields = d.buf[:0], d.fields[:0]
	if cap(d.fields) > 16 {
		d.fields = nil
	}
}

func (d *trailerSection) start() { d.at, d.count = 0, 0 }

// feed takes from b what belongs to the section; done says that it is complete.
func (d *trailerSection) feed(b []byte) (n int, done bool, err *codec.Error) {
	if len(d.buf) == 0 {
		if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
			return 2, true, nil
		}
		if len(b) == 0 {
			return 0, false, nil
		}
		d.buf = append(grow(d.buf, 2), '\r', '\n')
		d.at = 2
	}
	var lines int
	d.buf, n, lines = gather(d.buf, b, MaxTrailers+2-len(d.buf))
	text := d.buf[:len(d.buf)+slack]
	for d.at < lines {
		if emptyLine(text, d.at) {
			return n, true, nil
		}
		colon, v, e, next, err := fieldLine(text, d.at)
		if err != nil {
			return n, false, err
		}
		if d.count++; d.count > MaxTrailerFields {
			return n, false, fault(431, detailFields, "too many trailer fields", nil)
		}
		name := text[d.at:colon:colon]
		if id := codec.Identify(name); allowedInTrailers(name, id) {
			d.fields = append(d.fields, codec.Field{ID: id, Name: name, Value: text[v:e:e]})
		}
		d.at = next
	}
	if len(d.buf) >= MaxTrailers+2 {
		return n, false, fault(431, detailHeadSize, "trailers over their limit", nil)
	}
	return n, false, nil
}
