// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// maxReplay is how much of a request's body is kept for a retry; a longer one is not retried, which is counted.
const maxReplay = 64 << 10

// onData hands a piece of the body to the copies, the replay and the upstream.
func (s *Stream) onData(b chunk.Bytes) {
	s.bytesIn += int64(len(b.B))
	s.active = s.wk.w.Now()
	if s.over || s.reply != nil {
		return
	}
	if s.connected {
		s.beginCopies() // with Expect: the body's first byte
	}
	if s.copying {
		s.tap.Data(b)
	}
	if !s.connected || s.replayable && s.canRetry() {
		s.keep(b)
	}
	if s.connected {
		s.frame(len(b.B))
		s.conn.IO.Push(b)
		s.frameEnd()
	}
	s.holdClient()
}

// keep adds to the replay. Past maxReplay there are no more retries.
func (s *Stream) keep(b chunk.Bytes) {
	if !s.connected || s.replay.Len()+len(b.B) <= maxReplay {
		s.replay.Push(s.wk.w.Pool, b)
		return
	}
	s.abandonReplay()
	s.replay.Free()
}

// abandonReplay counts that the body is too long for the retries there could have been.
func (s *Stream) abandonReplay() {
	s.replayable = false
	s.cluster.Stats(s.wk.w).Inc(upstream.RetryOrShadowAbandoned)
}

// sendReplay writes what is kept of the body on the attempt's connection, and keeps it on if it may be needed again.
func (s *Stream) sendReplay() {
	n := s.replay.Len()
	if n == 0 {
		return
	}
	s.frame(n)
	again := s.canRetry()
	if again && n <= maxReplay {
		s.replay.ShareWith(s.wk.w.Pool, s.conn.IO.Out())
	} else {
		s.replay.MoveTo(s.conn.IO.Out())
		if again {
			s.abandonReplay()
		}
		s.replayable = false
	}
	s.conn.IO.MarkDirty()
	s.frameEnd()
}

func (s *Stream) frame(n int) {
	if s.chunked {
		s.wk.out = http1.AppendChunkHead(s.wk.out[:0], n)
		s.conn.IO.Write(s.wk.out)
	}
}

func (s *Stream) frameEnd() {
	if s.chunked {
		s.conn.IO.Write(crlf)
	}
}

var crlf = []byte(http1.ChunkEnd)

// holdClient stops reading from the client while too much of its body waits for the upstream. It is asked again when the
// upstream has taken all but a quarter of that.
func (s *Stream) holdClient() {
	switch {
	case !s.full():
		s.readOn()
	case !s.paused && !s.requestDone:
		s.paused = true
		s.d.stats().Inc(pausedReading)
		s.d.steer()
	}
}

// full reports whether so much of the body waits that no more is to be read.
func (s *Stream) full() bool {
	most := loop.HighWater
	switch {
	case s.connected:
		return s.conn.IO.Full()
	case s.cluster != nil && s.cluster.Config().Buffer > 0:
		most = s.cluster.Config().Buffer
	}
	return s.replay.Len() > most
}

func (s *Stream) readOn() {
	if s.paused {
		s.paused = false
		s.d.stats().Inc(resumedReading)
		s.d.steer()
	}
}

// Writable implements upstream.Exchange.
func (s *Stream) Writable(*upstream.Conn) {
	s.active = s.wk.w.Now()
	s.holdClient()
}
