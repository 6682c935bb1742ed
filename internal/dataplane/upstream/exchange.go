// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// Exchange is the party that uses a connection for one request and its answer. All calls come from the worker's loop,
// never from inside a call to Conn. After AnswerEnd the party may finish writing its request, then it calls Release;
// until it does, Failed may still come. After Failed it calls nothing any more.
type Exchange interface {
	// Connected tells that a dialled connection is up: the request may be written.
	Connected(c *Conn)
	// AnswerHead is called for every interim head (Status < 200) and for the final one. h dies with the call.
	AnswerHead(c *Conn, h *codec.Head)
	AnswerData(c *Conn, b chunk.Bytes)
	// AnswerEnd tells that the answer is complete. trailers die with the call.
	AnswerEnd(c *Conn, trailers []codec.Field)
	// Writable tells that the unsent part of the request fell under a quarter of the connection's mark again.
	Writable(c *Conn)
	// Failed tells that the connection is gone, or of no use.
	Failed(c *Conn, f Failure)
}

// Upgrader is an Exchange whose request asks for another protocol.
type Upgrader interface {
	Exchange
	// Upgraded tells that the host agreed: h is its 101, rest what it sent behind that; both die with the call. From here
	// on the connection is the party's: it gives IO another owner in this call, and calls Ended when that is over.
	Upgraded(c *Conn, h *codec.Head, rest chunk.Bytes)
}

// Holder is the Exchange of a copy that accounts for its answer's memory.
type Holder interface {
	Exchange
	// AnswerHeld tells after each read at most how many bytes of memory hold what has come of the answer's head or
	// trailers, as long as these are not complete; a body is not held. AnswerHead and AnswerEnd tell of their end.
	AnswerHeld(c *Conn, n int)
}

// Failure is why an exchange ended without a whole answer.
type Failure struct {
	Kind     FailureKind
	Err      error
	Answered bool // a byte of an answer had arrived
	Reused   bool // the connection had carried an exchange before: it may have been stale
}

// FailureKind tells failures apart as Envoy's reset reasons do.
type FailureKind uint8

// The kinds.
const (
	ConnectRefused FailureKind = iota + 1 // or unreachable: no connection came about
	ConnectTimeout
	Reset    // the peer closed or reset the connection
	Protocol // what it sent is no HTTP/1.1 answer
)
