// SPDX-License-Identifier: Apache-2.0

// Package relay joins two connections of a worker byte for byte, both ways, until both peers have ended their sides. It
// is for what HTTP has been left for (an upgrade). It holds no bytes of its own but those that the connections queue, and
// knows nothing of what is sent.
package relay

import (
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// End is how a relay ended.
type End uint8

const (
	// Done: both peers ended their sides. What is not written yet still is.
	Done End = iota
	// NearGone and FarGone: that connection was reset, or could not be written to. The other one was reset then.
	NearGone
	FarGone
	// Idle: nothing moved either way for the time that was allowed. Both connections were reset.
	Idle
	// WasCut: by Cut. Both connections were reset.
	WasCut
)

// User is told once of a relay's end, on the worker's goroutine, never from inside Join. The connections need nothing
// more done to them then.
type User interface {
	Relayed(r *Relay, end End)
}

// Relay is two joined connections. It owns both from Join on.
type Relay struct {
	w         *loop.Worker
	user      User
	near, far side
	over      bool

	idle   time.Duration // 0 or less: for ever
	timer  loop.Timer
	active int64  // loop time when something moved last
	sent   uint64 // bytes both sockets had taken when the timer looked last
}

// side is the owner of one of the connections.
type side struct {
	r     *Relay
	io    *loop.Conn
	other *side
	got   int64 // bytes from this peer
	ended bool  // it ended its side
	lost  End   // what it means if it is gone
}

// Join takes both connections over. What came from either before (after HTTP's last byte) goes to the other first;
// fromFar may lie in a chunk.
func Join(
	w *loop.Worker, near, far *loop.Conn, fromNear []byte, fromFar chunk.Bytes, idle time.Duration, u User,
) *Relay {
	r := &Relay{w: w, user: u, idle: idle, active: w.Now()}
	r.near = side{r: r, io: near, other: &r.far, lost: NearGone}
	r.far = side{r: r, io: far, other: &r.near, lost: FarGone}
	near.SetOwner(&r.near)
	far.SetOwner(&r.far)
	near.Resume()
	far.Resume()
	r.near.Bytes(chunk.Bytes{B: fromNear})
	r.far.Bytes(fromFar)
	if idle > 0 {
		r.sent = near.Sent() + far.Sent()
		r.timer.Init(r.expire)
		w.Arm(&r.timer, idle)
	}
	return r
}

// Received is how many bytes each peer sent.
func (r *Relay) Received() (near, far int64) { return r.near.got, r.far.got }

// Connected implements loop.Owner; both are up.
func (s *side) Connected() {}

// Bytes implements loop.Owner. A peer that sends more than the other takes is not read from.
func (s *side) Bytes(b chunk.Bytes) {
	if len(b.B) == 0 {
		return
	}
	s.r.active = s.r.w.Now()
	s.got += int64(len(b.B))
	to := s.other.io
	to.Push(b)
	if to.Full() {
		s.io.Pause()
	}
}

// Writable implements loop.Owner.
func (s *side) Writable() {
	s.r.active = s.r.w.Now()
	s.other.io.Resume()
}

// EOF implements loop.Owner: the end of one direction goes on to the other peer.
func (s *side) EOF() {
	r := s.r
	r.active = r.w.Now()
	s.ended = true
	s.other.io.EndFlushed()
	if s.other.ended {
		r.near.io.CloseFlushed()
		r.far.io.CloseFlushed()
		r.finish(Done)
	}
}

// Gone implements loop.Owner. What one peer did not get the other must not take for delivered.
func (s *side) Gone(error) {
	s.other.io.Abort()
	s.r.finish(s.lost)
}

func (r *Relay) expire() {
	now := r.w.Now()
	if sent := r.near.io.Sent() + r.far.io.Sent(); sent != r.sent { // a slow reader is no idle one
		r.sent, r.active = sent, now
	}
	if left := r.active + int64(r.idle) - now; left > 0 {
		r.w.Arm(&r.timer, time.Duration(left))
		return
	}
	r.abort(Idle)
}

// Cut ends the relay at once.
func (r *Relay) Cut() { r.abort(WasCut) }

func (r *Relay) abort(end End) {
	r.near.io.Abort()
	r.far.io.Abort()
	r.finish(end)
}

func (r *Relay) finish(end End) {
	if r.over {
		return
	}
	r.over = true
	r.w.Disarm(&r.timer)
	r.user.Relayed(r, end)
}
