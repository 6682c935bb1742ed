// SPDX-License-Identifier: Apache-2.0

package http1

import "github.com/umbra-mesh/umbra/internal/dataplane/codec"

// RequestDecoder decodes a client's requests, one message after a Reset each. Its zero value needs only Reset.
type RequestDecoder struct {
	// Settings, read by Reset. 0: the default.
	MaxHead   int // bytes of a head with its request line; more is 431
	MaxFields int // fields of a head; more is 431

	head  head
	body  body
	state requestState
	err   *codec.Error
}

type requestState uint8

const (
	idle   requestState = iota // not even the empty line that may come first
	idleCR                     // half of that empty line
	idleLF                     // all of it
	inHead
	inBody
)

// Reset makes d ready for the next request, to be decoded into h, which the caller has reset. h belongs to d until
// HeadDone; then d does not touch it again.
func (d *RequestDecoder) Reset(h *codec.Head) {
	d.head.h, d.head.max, d.head.maxFields = h, d.MaxHead, d.MaxFields
	if d.MaxHead <= 0 {
		d.head.max = DefaultMaxHead
	}
	if d.MaxFields <= 0 {
		d.head.maxFields = DefaultMaxFields
	}
	d.head.start()
	d.body.reset()
	d.state, d.err = idle, nil
}

// Empty reports whether no byte of the request has come: the connection is idle. One empty line may have come, as
// clients exist that send one behind a body (RFC 9112 §2.2).
func (d *RequestDecoder) Empty() bool { return d.state <= idleLF }

// Body returns the body bytes of the last Data event, a slice of what Next was given.
func (d *RequestDecoder) Body() []byte { return d.body.data }

// Trailers returns the trailer fields after End, without those that may not be there (RFC 9110 §6.5.1). They die with
// the next Reset.
func (d *RequestDecoder) Trailers() []codec.Field { return d.body.fields }

// Next decodes b and returns the next event and how many bytes of b it used; the caller goes on with b[n:]. A body that
// is complete gives End with n = 0, also for an empty b. After an error the connection can only be closed: what
// follows is not a request, and of the Head only what the request line gave may be there. Next then returns the same
// error again.
func (d *RequestDecoder) Next(b []byte) (ev Event, n int, err *codec.Error) {
	if d.err != nil {
		return More, 0, d.err
	}
	if d.state == inBody {
		ev, n, d.err = d.body.next(b)
		return ev, n, d.err
	}
	for d.state != inHead {
		if n == len(b) {
			return More, n, nil
		}
		if d.state, d.err = d.before(b[n]); d.err != nil {
			return More, n, d.err
		}
		if d.state != inHead {
			n++
		}
	}
	used, done, err := d.head.feed(b[n:])
	n += used
	if err != nil {
		d.err = err
		return More, n, err
	}
	if !done {
		return More, n, nil
	}
	d.state = inBody
	d.body.start(d.head.h.Length, d.head.chunked)
	return HeadDone, n, nil
}

// before takes a byte before the request line, and refuses at once what cannot become one, such as a TLS handshake.
func (d *RequestDecoder) before(c byte) (requestState, *codec.Error) {
	switch {
	case d.state == idleCR && c == '\n':
		return idleLF, nil
	case d.state == idle && c == '\r':
		return idleCR, nil
	case d.state != idleCR && class[c]&inToken != 0:
		return inHead, nil
	default:
		return d.state, malformed(detailCodec, "byte %q before the method", []byte{c})
	}
}
