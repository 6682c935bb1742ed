// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

// Sink takes ended spans, some at a time, on the tracer's own goroutine: it may wait, for the network too. The spans
// are used again after the call.
type Sink interface{ Export(spans []Span) }

// Config of a Tracer.
type Config struct {
	Sink     Sink
	Workers  int             // the tracer is used by workers 0..Workers-1
	Registry *stats.Registry // where spans that were lost are counted
	// Sampling is the share in percent of the traces that begin here and are recorded.
	Sampling    float64
	ServiceName string  // whose spans these are
	Formats     Formats // read, in their order, and all of them written; 0: W3C
	Ring        int     // spans of one worker that may wait for the sink; 0: 2048
}

const defaultRing = 2048

// Tracer makes spans and carries them off. Its methods with a worker's number are for that worker's goroutine.
type Tracer struct {
	cfg   Config
	below uint64 // of 10,000
	rings []ring
	wake  chan struct{}
	stop  chan struct{}
	done  sync.WaitGroup
	once  sync.Once
}

// ring is one worker's spans on their way to the sink: one writer, one reader.
type ring struct {
	spans []Span
	stats *stats.Block
	head  atomic.Uint64 // next to be written
	_     [48]byte
	tail  atomic.Uint64 // next to be read
	_     [56]byte
}

const (
	spansTotal = iota
	spansDropped
)

var traceStats = &stats.Kind{Metrics: []stats.Metric{
	spansTotal: {Name: "umbra_trace_spans_total", Help: "Sampled spans that ended.", Type: stats.Counter},
	spansDropped: {
		Name: "umbra_trace_spans_dropped_total", Help: "Of these, lost because the exporter was behind.", Type: stats.Counter,
	},
}}

// New starts a tracer; Close ends it.
func New(cfg Config) *Tracer {
	if cfg.Formats == 0 {
		cfg.Formats = W3C
	}
	if cfg.Ring == 0 {
		cfg.Ring = defaultRing
	}
	t := &Tracer{
		cfg: cfg, below: uint64(max(cfg.Sampling, 0) * 100), rings: make([]ring, cfg.Workers),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	set := cfg.Registry.Set(traceStats)
	for i := range t.rings {
		t.rings[i].stats = set.Block(i)
		t.rings[i].spans = make([]Span, cfg.Ring)
	}
	t.done.Go(t.carry)
	return t
}

// ServiceName is whose spans these are.
func (t *Tracer) ServiceName() string { return t.cfg.ServiceName }

// Formats are those that are written.
func (t *Tracer) Formats() Formats { return t.cfg.Formats }

// Close hands over what is left and waits for the sink to take it. Spans that end later are lost.
func (t *Tracer) Close() {
	t.once.Do(func() { close(t.stop) })
	t.done.Wait()
}

// Open returns the worker's next span to fill, empty; nil, which is counted, if the sink is that far behind. Commit
// hands it over.
func (t *Tracer) Open(worker int) *Span {
	r := &t.rings[worker]
	r.stats.Inc(spansTotal)
	head := r.head.Load()
	if head-r.tail.Load() >= uint64(len(r.spans)) {
		r.stats.Inc(spansDropped)
		return nil
	}
	s := &r.spans[head%uint64(len(r.spans))]
	s.reset()
	return s
}

// Commit hands over the span of the last Open.
func (t *Tracer) Commit(worker int) {
	t.rings[worker].head.Add(1)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// carry is the tracer's goroutine.
func (t *Tracer) carry() {
	for {
		select {
		case <-t.wake:
			t.flush()
		case <-t.stop:
			t.flush()
			return
		}
	}
}

func (t *Tracer) flush() {
	for i := range t.rings {
		r := &t.rings[i]
		for {
			tail, head := r.tail.Load(), r.head.Load()
			if tail == head {
				break
			}
			from := tail % uint64(len(r.spans))
			n := min(head-tail, uint64(len(r.spans))-from)
			t.cfg.Sink.Export(r.spans[from : from+n])
			r.tail.Store(tail + n)
		}
	}
}

// Reason is why a request is traced, as its id tells from proxy to proxy.
type Reason byte

// The reasons: the digit of the request id that a random UUID has for its version.
const (
	NotTraced     Reason = '4'
	BySampling    Reason = '9'
	ServiceForced Reason = 'a'
	ClientForced  Reason = 'b'
)

const reasonAt = 14

// Begin decides on the trace of a request (Envoy: ConnectionManagerUtility::mutateTracingRequestHeader): it returns the
// context of the request's own span and its parent's, and packs the reason into the request id. An
// incoming context says by itself whether it is sampled; else the reason does: the one in the request id, the client's
// x-client-trace-id, or the id's draw.
func (t *Tracer) Begin(h *codec.Head, random [3]uint64) (own, parent Context) {
	traced := t.reason(h) != NotTraced
	parent = Read(h, t.cfg.Formats)
	own = parent
	if !parent.Valid() {
		parent = Context{}
		own.Trace = id(random[0], random[1])
		own.Deferred = true
	}
	if own.Deferred {
		own.Sampled, own.Deferred = traced, false
	}
	own.Span = spanID(random[2])
	return own, parent
}

// Child is the context of a span below c, sampled as d says. random is the new span's id.
func (c *Context) Child(d Decision, random uint64) Context {
	child := *c
	child.Span = spanID(random)
	if d != Inherit {
		child.Sampled = d == Sampled
	}
	return child
}

// reason reads why the request is traced, or decides and tells it in the request id. One that is no UUID draws nothing.
func (t *Tracer) reason(h *codec.Head) Reason {
	v := h.Get(codec.RequestID)
	if len(v) != 36 {
		return NotTraced
	}
	switch r := Reason(v[reasonAt]); r {
	case BySampling, ServiceForced, ClientForced:
		return r
	}
	draw, err := strconv.ParseUint(string(v[:8]), 16, 64)
	if err != nil {
		return NotTraced
	}
	r := NotTraced
	switch {
	case len(h.Get(codec.ClientTraceID)) > 0:
		r = ClientForced
	case draw%10_000 < t.below:
		r = BySampling
	}
	if r != NotTraced {
		packed := h.Store(v)
		packed[reasonAt] = byte(r)
		h.Set(codec.RequestID, packed)
	}
	return r
}

func id(a, b uint64) (v ID) {
	binary.BigEndian.PutUint64(v[:8], a)
	binary.BigEndian.PutUint64(v[8:], b|1) // never zero
	return v
}

func spanID(a uint64) (v SpanID) {
	binary.BigEndian.PutUint64(v[:], max(a, 1))
	return v
}
