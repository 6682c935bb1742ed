// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"errors"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
)

// Class says in which part of a turn a connection's events are handled.
type Class uint8

const (
	// Production connections carry what a client waits for.
	Production Class = iota
	// Copy connections carry copies. Their callbacks, and nothing else of theirs, may panic: that is contained.
	Copy
)

// Owner gets a connection's events, on the worker's goroutine, never from inside a call to the connection. Within a
// callback everything may be called, Close included. After Close, CloseFlushed and Abort nothing comes any more.
type Owner interface {
	// Connected: a dialled connection is up.
	Connected()
	// Bytes were received. They die when Bytes returns, unless b.C is referenced (chunk.Queue.Push).
	Bytes(b chunk.Bytes)
	// EOF: the peer ended its direction (FIN). Writing may go on.
	EOF()
	// Writable: the unsent queue fell to a quarter of its mark or below after it had passed that.
	Writable()
	// Gone: refused, reset, not connected in time, or a write failed; the connection is dead and this the last callback.
	// What the peer sent before is delivered first, except where the owner has paused reading and waits for Writable.
	Gone(err error)
}

// HighWater is the usual mark of the unsent queue, in bytes: an owner that has queued more should stop until Writable.
const HighWater = 32 << 10

// Bounds of one turn.
const (
	// ReadCap is how many bytes are read from one connection in a turn before the others have theirs.
	ReadCap = 256 << 10
	// WriteCap is how many bytes are written to one connection in a turn.
	WriteCap = 256 << 10
	// CopyTime and CopyBytes bound the copies' part of a turn: until it has taken as long as the production part, at
	// least CopyTime, or moved as many bytes, at least CopyBytes.
	CopyTime  = 200 * time.Microsecond
	CopyBytes = 256 << 10
)

// How long CloseFlushed waits for a bit of progress, and how often.
const (
	lingerStep  = 5 * time.Second
	lingerSteps = 12
)

// Errors that Gone gives besides those of the operating system (syscall.Errno).
var (
	ErrConnectTimeout = errors.New("connect timed out")
	ErrPanic          = errors.New("the owner's callback panicked")
)
