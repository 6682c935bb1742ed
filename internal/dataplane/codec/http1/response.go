// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"unsafe"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// ResponseDecoder decodes an upstream's answers, one with its interim answers after a Reset each. Its zero value needs
// only Reset. Its errors have status 502.
type ResponseDecoder struct {
	// Settings, read by Reset. 0: the default.
	MaxHead   int // bytes of a head with its status line
	MaxFields int // fields of a head
	// Switching, read by Next: the request asked for another protocol, so 101 may be the final answer. What follows it
	// is not HTTP: the caller has the bytes from n on, and does not call Next again.
	Switching bool

	head    head
	body    body
	toHead  bool
	inBody  bool
	seen    bool
	restart bool // an interim head is done and the next one has not begun
	interim int
	err     *codec.Error
}

// Reset makes d ready for the next answer, to be decoded into h, which the caller has reset; headRequest says that the
// request's method was HEAD. h belongs to d until HeadDone of the final answer.
func (d *ResponseDecoder) Reset(h *codec.Head, headRequest bool) {
	d.head.h, d.head.max, d.head.maxFields, d.head.answer = h, d.MaxHead, d.MaxFields, true
	if d.MaxHead <= 0 {
		d.head.max = DefaultMaxHead
	}
	if d.MaxFields <= 0 {
		d.head.maxFields = DefaultMaxFields
	}
	d.head.start()
	d.body.reset()
	d.toHead, d.inBody, d.seen, d.restart = headRequest, false, false, false
	d.interim, d.err = 0, nil
}

// Empty reports whether no byte of an answer has come, interim ones included.
func (d *ResponseDecoder) Empty() bool { return !d.seen }

// Body returns the body bytes of the last Data event, a slice of what Next was given.
func (d *ResponseDecoder) Body() []byte { return d.body.data }

// Trailers returns the trailer fields after End, without those that may not be there (RFC 9110 §6.5.1). They die with
// the next Reset.
func (d *ResponseDecoder) Trailers() []codec.Field { return d.body.fields }

// Held is at most how many bytes of memory hold what has come of a head, in the Head's Buf and Fields, or of trailers,
// until that is complete and told.
func (d *ResponseDecoder) Held() int {
	switch {
	case d.inBody:
		return held(d.body.buf, d.body.fields)
	case d.restart:
		return 0
	default:
		return held(d.head.h.Buf, d.head.h.Fields)
	}
}

// held is at most what buf and fields take. What buf outgrew is not gone: fields lie in it. It is less than buf itself.
func held(buf []byte, fields []codec.Field) int {
	if len(buf) == 0 {
		return 0
	}
	return 2*cap(buf) + cap(fields)*int(unsafe.Sizeof(codec.Field{}))
}

// Free lets go of the trailers, unless they are small: the answer is at its end.
func (d *ResponseDecoder) Free() { d.body.reset() }

// Next decodes b and returns the next event and how many bytes of b it used; the caller goes on with b[n:]. HeadDone
// with a status of 1xx is an interim answer: the caller uses the Head, resets it and calls Next again. Switching
// protocols (101) is an error if nobody asked for it, and so is the eleventh interim answer. A body that is complete
// gives End with n = 0, also for an empty b; bytes that then follow belong to no request. After an error Next returns
// the same error again.
func (d *ResponseDecoder) Next(b []byte) (ev Event, n int, err *codec.Error) {
	if d.err == nil {
		ev, n, d.err = d.next(b)
		if d.err != nil && d.err.Status != 502 {
			d.err = &codec.Error{Status: 502, Detail: d.err.Detail, Reason: d.err.Reason}
		}
	}
	return ev, n, d.err
}

func (d *ResponseDecoder) next(b []byte) (ev Event, n int, err *codec.Error) {
	if d.inBody {
		return d.body.next(b)
	}
	if len(b) == 0 {
		return More, 0, nil
	}
	d.seen = true
	if d.restart {
		d.head.start() // now, as the caller has emptied the Head meanwhile
		d.restart = false
	}
	if d.head.empty() && b[0] != 'H' {
		return More, 0, malformed(detailCodec, "byte %q before the status line", b[:1])
	}
	n, done, err := d.head.feed(b)
	if err != nil || !done {
		return More, n, err
	}
	h := d.head.h
	if h.Status < 200 {
		return d.interimDone(h, n)
	}
	chunked := d.head.chunked
	if h.Status == 204 && (chunked || d.head.length > 0) {
		h.Close = true // RFC 9112 §6.1, RFC 9110 §8.6: it must not say so, and who says so may send it yet
	}
	if d.toHead || h.Status == 204 || h.Status == 304 {
		h.Length, chunked = 0, false // RFC 9112 §6.3: whatever the fields say
	}
	if h.Length < 0 && !chunked {
		h.Close = true
	}
	d.inBody = true
	d.body.start(h.Length, chunked)
	return HeadDone, n, nil
}

func (d *ResponseDecoder) interimDone(h *codec.Head, n int) (Event, int, *codec.Error) {
	if h.Status == 101 {
		if !d.Switching {
			return More, n, malformed(detailCodec, "switching protocols without being asked", nil) // RFC 9110 §15.2.2
		}
		if !h.Upgrade {
			return More, n, malformed(detailCodec, "switching protocols without naming one", nil)
		}
		h.Length = 0
		return HeadDone, n, nil
	}
	if d.interim++; d.interim > MaxInterim {
		return More, n, malformed(detailCodec, "too many interim answers", nil)
	}
	h.Length, d.restart = 0, true
	return HeadDone, n, nil
}

// EOF tells d that the upstream has ended the connection: End if that completes the answer (RFC 9112 §6.3, §8).
func (d *ResponseDecoder) EOF() (ev Event, err *codec.Error) {
	switch {
	case d.err != nil:
	case !d.inBody && d.seen:
		d.err = fault(502, detailIncomplete, "connection ended within an answer's head", nil)
	case !d.inBody:
		d.err = fault(502, detailIncomplete, "connection ended without an answer", nil)
	case d.body.state == untilClose || d.body.state == ended:
		d.body.state = ended
		return End, nil
	default:
		d.err = fault(502, detailIncomplete, "connection ended within an answer's body", nil)
	}
	return More, d.err
}
