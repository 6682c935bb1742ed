// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bytes"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// wholeHead is the number of bytes up to which a head is taken without looking for its end first.
const wholeHead = 2 << 10

// head decodes one head into a Head, whose Buf holds what has come of it.
type head struct {
	answer    bool
	max       int // bytes
	maxFields int

	h     *codec.Head
	base  int  // where the head begins in Buf
	line  int  // where the first line begins that was not parsed yet
	first bool // the first line was parsed
	notes
}

// notes are what the fields of a head say about its message, until the head is complete.
type notes struct {
	hosts     int
	lengths   int
	codings   int
	chunked   bool
	length    int64
	te        bool
	upgrade   bool // an Upgrade field
	expect    bool // Expect: 100-continue
	announces bool // Trailer announces a field that frames
	// From Connection.
	elements     int
	nominates    bool // something was named that finish has to look for
	closes       bool
	keeps        bool
	namesUpgrade bool
}

func (d *head) start() {
	d.base, d.line, d.first = len(d.h.Buf), len(d.h.Buf), false
	d.notes = notes{}
}

// empty reports whether no byte of the head has come.
func (d *head) empty() bool { return len(d.h.Buf) == d.base }

// feed takes from b what belongs to the head; done says that it is complete.
func (d *head) feed(b []byte) (n int, done bool, err *codec.Error) {
	h := d.h
	if len(h.Buf) == d.base && len(b) <= min(d.max, wholeHead) && bytes.HasSuffix(b, sectionEnd) {
		// Most heads come alone and at once: no search for the end is needed. What follows a shorter head is given back.
		h.Buf = append(grow(h.Buf, len(b)), b...)
		done, err = d.parse(h.Buf[:len(h.Buf)+slack], len(h.Buf))
		h.Buf = h.Buf[:max(d.line, d.base)]
		return d.line - d.base, done, err
	}
	var lines int
	h.Buf, n, lines = gather(h.Buf, b, d.max-(len(h.Buf)-d.base))
	if lines > 0 {
		if done, err = d.parse(h.Buf[:len(h.Buf)+slack], lines); done || err != nil {
			return n, done, err
		}
	}
	if len(h.Buf)-d.base >= d.max {
		return n, false, fault(431, detailHeadSize, "head over its limit", nil)
	}
	return n, false, nil
}

// parse parses the complete lines of b up to end.
func (d *head) parse(b []byte, end int) (done bool, err *codec.Error) {
	h := d.h
	if !d.first {
		read := requestLine
		if d.answer {
			read = statusLine
		}
		next, err := read(h, b, d.line)
		if err != nil {
			return false, err
		}
		d.first, d.line = true, next
		if cap(h.Fields) == 0 {
			h.Fields = make([]codec.Field, 0, 24)
		}
	}
	fields, i := h.Fields, d.line
	for i < end {
		if emptyLine(b, i) {
			h.Fields, d.line = fields, i+2
			return true, d.finish()
		}
		colon, v, e, next, err := fieldLine(b, i)
		if err != nil {
			return false, err
		}
		if len(fields) == d.maxFields {
			return false, fault(431, detailFields, "too many fields", nil)
		}
		name := b[i:colon:colon]
		id := codec.Identify(name)
		fields = append(fields, codec.Field{ID: id, Name: name, Value: b[v:e:e]})
		if id != codec.Other && id <= codec.Trailer {
			if err := d.note(&fields[len(fields)-1]); err != nil {
				return false, err
			}
		}
		i = next
	}
	h.Fields, d.line = fields, i
	return false, nil
}

// note takes in a field that concerns the message or the connection.
func (d *head) note(f *codec.Field) *codec.Error {
	switch f.ID {
	case codec.Connection:
		f.Name = nil
		return d.connection(f.Value)
	case codec.TE:
		d.reduceTE(f)
	case codec.Upgrade:
		f.Name = nil
		d.upgrade = true
	case codec.TransferEncoding:
		f.Name = nil
		d.codings++
		return d.transferEncoding(f.Value)
	case codec.ContentLength:
		d.lengths++
		return d.contentLength(f.Value)
	case codec.Host:
		d.hosts++
		if d.answer {
			return nil
		}
		if d.hosts > 1 {
			return malformed(detailCodec, "two host fields", nil) // RFC 9112 §3.2
		}
		if !validAuthority(f.Value, false) {
			return malformed(detailCodec, "host %q", f.Value)
		}
		if len(d.h.Authority) == 0 {
			d.h.Authority = f.Value
		} else {
			f.Value = d.h.Authority // RFC 9112 §3.2.2: the target's wins
		}
	case codec.Expect:
		d.expect = d.expect || fold(f.Value, []byte("100-continue"))
	case codec.Trailer:
		for list := f.Value; len(list) > 0; {
			var name []byte
			name, list = element(list)
			switch codec.Identify(name) {
			case codec.ContentLength, codec.TransferEncoding, codec.Trailer:
				d.announces = true
			}
		}
	default:
		if f.ID.HopByHop() {
			f.Name = nil
		}
	}
	return nil
}

// finish draws the conclusions of a complete head.
func (d *head) finish() *codec.Error {
	h := d.h
	if d.chunked && d.lengths > 0 {
		return malformed(detailBoth, "content-length and transfer-encoding", nil) // RFC 9112 §6.1
	}
	if d.chunked && h.Minor == 0 {
		return malformed(detailCoding, "transfer-encoding in http/1.0", nil) // RFC 9112 §6.1
	}
	if d.chunked && d.announces {
		return malformed(detailCodec, "trailer announces a field that frames", nil) // RFC 9110 §6.5.1
	}
	if !d.answer && d.hosts == 0 && h.Minor > 0 {
		return malformed(detailHost, "no host", nil) // RFC 9112 §3.2
	}
	switch {
	case d.chunked:
		h.Length = -1
	case d.lengths > 0:
		h.Length = d.length
	case d.answer:
		h.Length = -1
	}
	h.KeepAlive = d.keeps
	h.Close = d.closes || h.Minor == 0 && !d.keeps // RFC 9112 §9.3
	// Not with HEAD: any answer but the switch has no body, and nobody switches for it (RFC 9110 §9.3.2, RFC 6455 §4.1).
	h.Upgrade = d.upgrade && d.namesUpgrade && h.Minor > 0 && !h.IsHead
	h.ExpectContinue = !d.answer && d.expect && h.Length != 0
	if d.expect && h.Minor == 0 {
		h.ExpectContinue = false // RFC 9110 §10.1.1; and we send it on as HTTP/1.1
		h.Del(codec.Expect)
	}
	if d.nominates {
		d.removeNominated()
	}
	return nil
}
