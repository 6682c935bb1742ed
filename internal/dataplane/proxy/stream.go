// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"net/netip"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/filter"
	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/relay"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// keepStreams bounds the streams that a worker keeps for use again, and keepTail the memory each keeps of trailers.
const (
	keepStreams = 1024
	keepTail    = 1 << 10
)

// Stream is one request and its answer. Its methods stand in order of life: onHead, onward, attempt, send and onEnd in
// serve.go, and what they lead through in fault.go, local.go (answers made here), shape.go (what the route makes of the
// request) and body.go; the answer's in answer.go; an attempt's failure in retry.go, its times in timeout.go; what becomes
// of a connection that is to speak another protocol in upgrade.go. It owns its head for as long as it lives, pins the
// action and the cluster it was given, and is used again after that.
type Stream struct {
	wk         *Worker
	head       codec.Head
	replay     chunk.Queue // the body so far, while a retry may need it or no connection is up
	tail       []byte      // a chunked request's end with its trailers
	delay      loop.Timer  // a fault's
	timeout    loop.Timer  // the route's
	perTry     loop.Timer
	perTryIdle loop.Timer
	backoff    loop.Timer
	next       *Stream // free list
	exchange
}

// exchange is what a stream forgets between requests.
type exchange struct {
	d       *Downstream
	action  *Action
	draw    [2]uint64 // one for all mirrors, one for the weighted pick: shares do not correlate
	tap     *mirror.Tap
	copying bool // the copies have begun
	span    trace.Context
	parent  trace.Context // the span's, if it came with the request

	spanName []byte // as the upstream named it

	// The request.
	headDone    bool
	requestDone bool
	chunked     bool
	grpc        bool
	paused      bool // reading from the client waits for the upstream
	bytesIn     int64
	start       int64 // loop time of the first byte
	active      int64 // loop time of the last event
	ended       int64 // loop time when the route had the request's end

	// What the route made of it.
	delayed  bool // a fault held it back
	faulted  bool // counted among the active faults
	origin   filter.CrossOrigin
	redirect *filter.Redirect // the answer's
	local    filter.Local     // an answer made for this request
	weighted *Weighted        // the cluster picked; nil with cluster_header
	times    times
	retryOn  RetryOn
	cookies  [][]byte // to be set for the client's next requests' hash

	// The attempt.
	cluster    *upstream.Cluster
	choice     upstream.Choice
	host       *upstream.Host
	conn       *upstream.Conn
	connected  bool // conn may be written
	upLocal    netip.AddrPort
	upRemote   netip.AddrPort // a host may have more than one address
	exhausted  bool           // the last failure would have been retried
	counted    bool           // in the cluster's and the host's active requests
	waiting    bool           // in line for one of its host's connections
	pending    bool           // waits for a connection
	attempts   int
	retries    int
	retrying   bool // a retry is counted in the cluster
	refreshed  bool // a stale connection was replaced once
	replayable bool // replay holds the whole body so far
	tried      []*upstream.Host

	// The answer.
	reply         *filter.Local // to be sent once the bytes at hand are read
	answering     bool          // the final head went to the client
	answerChunked bool
	answerOpen    bool         // only the connection's end tells where the answer ends
	last          bool         // the client's connection ends with this answer
	upPaused      bool         // reading from the upstream waits for the client
	relay         *relay.Relay // the connections are joined: it is HTTP no more
	over          bool
	status        int
	flag, details string
	bytesOut      int64
	served        int64 // ms until the upstream's head, -1 unknown
}

func (wk *Worker) newStream(d *Downstream) *Stream {
	s := wk.free
	if s == nil {
		s = &Stream{wk: wk}
		s.delay.Init(s.onDelay)
		s.timeout.Init(s.onTimeout)
		s.perTry.Init(s.onPerTryTimeout)
		s.perTryIdle.Init(s.onPerTryIdle)
		s.backoff.Init(s.onBackoff)
	} else {
		wk.free, s.next = s.next, nil
		wk.nFree--
	}
	s.d, s.served = d, -1
	s.start = wk.w.Now()
	s.active = s.start
	return s
}

// Free implements the worker's end-of-turn freeing.
func (s *Stream) Free() {
	wk := s.wk
	if wk.nFree >= keepStreams {
		return
	}
	s.head.Reset()
	if cap(s.tail) > keepTail {
		s.tail = nil
	}
	clear(s.tried) // keeps no host alive
	s.exchange = exchange{tried: s.tried[:0]}
	s.next, wk.free = wk.free, s
	wk.nFree++
}
