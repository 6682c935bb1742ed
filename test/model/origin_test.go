// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"math/rand/v2"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// style is how a far end behaves.
type style int

const (
	good   style = iota // answers everything, whole
	wild                // does at random all that can be done wrong
	dead                // refuses connections
	late                // is slow to accept, or never does
	hangs               // accepts and reads nothing
	silent              // reads and never answers
	moody               // answers everything, whole, and often with failures: see judge_test.go
)

// origin is an upstream or a mirror: a place that workers dial.
type origin struct {
	m      *model
	name   string
	mirror bool
	style  style
	conns  uint64
	fars   []*far
	judged *judged // what is known of it, if its cluster ejects hosts
	wave   *wave   // its cluster, if a reload takes that away
}

// attempt is what a far end saw and did of one request.
type attempt struct {
	origin   *origin
	copy     bool
	nth      int
	got      int // bytes of the body
	whole    bool
	status   int
	size     int    // of the answer's body
	key      uint64 // of its bytes
	final    bool   // a whole final head was written
	answered bool   // all of the answer was written
	switches bool   // it agrees to another protocol
	tunnel   *tunnel
}

func (o *origin) arrive(p *loop.Peer) loop.Arrival {
	o.conns++
	r := rnd(o.m.seed, text(o.name), o.conns)
	f := &far{origin: o, m: o.m, p: p, r: r, pace: o.m.pace(r), copies: o.mirror}
	if o.style == moody {
		f.pace = pace{}
	}
	f.in = reader{onHead: f.onHead, onData: f.onData, onEnd: f.onEnd}
	p.News = f.news
	o.fars = append(o.fars, f)
	o.m.checkConnections(o)
	a := loop.Arrival{Link: o.m.link(r)}
	switch o.style {
	case dead:
		a.Refuse = true
	case late:
		a.Never = r.IntN(3) == 0
		a.After = time.Duration(r.IntN(3000)) * time.Millisecond
	case wild:
		a.Refuse = r.IntN(12) == 0
		a.Never = r.IntN(30) == 0
	}
	return a
}

// pace is how fast an end reads: bytes a step. 0: all at once.
type pace struct {
	bytes int
	step  time.Duration
}

func (m *model) pace(r *rand.Rand) pace {
	if r.IntN(4) > 0 {
		return pace{}
	}
	return pace{1000 + r.IntN(20000), time.Duration(1+r.IntN(20)) * time.Millisecond}
}

func (m *model) link(r *rand.Rand) loop.Link {
	l := loop.Link{
		Seed: r.Uint64(), Latency: time.Duration(10+r.IntN(3000)) * time.Microsecond,
		Room: []int{2 << 10, 16 << 10, 64 << 10, 256 << 10}[r.IntN(4)],
	}
	if r.IntN(2) == 0 {
		l.Jitter = time.Duration(r.IntN(2000)) * time.Microsecond
	}
	if r.IntN(3) == 0 {
		l.Piece = []int{600, 1500, 9000}[r.IntN(3)]
	}
	return l
}

// far is one connection at an origin.
type far struct {
	origin  *origin
	m       *model
	p       *loop.Peer
	r       *rand.Rand
	pace    pace
	resting bool // for its next step
	stopped bool // reads no more
	in      reader
	tunnel  *tunnel // what is left when HTTP is over

	now     *attempt
	copies  bool // it carries copies: known by the origin, or by the first head
	deed    deed
	cut     int // of the body or the answer, by deed
	out     []byte
	closing bool // when out is written
	dropped bool
	heads   int
	said    bool // that this connection ends
}

// deed is what an origin does with one request.
type deed int

const (
	answer deed = iota
	answerEarly
	answerLate
	answerSlowly
	answerInterim
	answerAndClose
	answerTooMuch
	never
	garbage
	resetAtHead
	finAtHead
	resetInBody
	stopReading
	resetInAnswer
	finInAnswer
	switchWrongly
	deeds
	answerBadly // with a failure, whole: what a moody origin does
)

func (f *far) news() {
	switch {
	case f.p.Over():
	case f.tunnel != nil:
		if f.write(); len(f.out) == 0 {
			f.tunnel.news()
		}
	case f.p.Reset():
		f.p.Abort()
	default:
		f.write()
		f.read()
	}
}

func (f *far) read() {
	if f.resting || f.stopped || f.tunnel != nil || f.origin.style == hangs {
		return
	}
	b := f.p.Arrived()
	if f.pace.bytes > 0 && len(b) > f.pace.bytes {
		b = b[:f.pace.bytes]
	}
	if len(b) > 0 {
		f.in.feed(b)
		if f.in.wrong != "" {
			f.m.fail("%s got what is no HTTP: %s", f.origin.name, f.in.wrong)
			f.p.Abort()
		}
		if f.p.Over() {
			return
		}
		f.p.Take(len(b))
	}
	if f.stopped {
		return
	}
	if len(f.p.Arrived()) > 0 {
		f.resting = true
		f.p.After(f.pace.step, func() { f.resting = false; f.news() })
		return
	}
	if f.p.Ended() {
		if !f.in.idle() && f.copies {
			f.m.fail("%s: a copy ended short, without a reset", f.origin.name)
		}
		if len(f.out) == 0 && f.now == nil {
			f.p.Close()
		}
	}
}

func (f *far) onHead(q *message) {
	id := q.field("X-Id")
	plan := f.m.plans[id]
	if plan == nil {
		f.m.fail("%s got a request that nobody sent: %q %q", f.origin.name, q.start, q.fields)
		f.p.Abort()
		f.in.msg = nil
		return
	}
	if f.said {
		f.m.fail("%s got %s on a connection of which it had said that it ends", f.origin.name, id)
	}
	f.heads++
	q.key = plan.key
	if want := plan.method + " " + plan.path + " HTTP/1.1"; q.start != want {
		f.m.fail("%s got %q, want %q", f.origin.name, q.start, want)
	}
	f.copies = f.origin.mirror || f.m.shared && q.field("X-Umbra-Mirror-Hops") != ""
	a := &attempt{origin: f.origin, copy: f.copies}
	for _, other := range plan.attempts {
		if other.copy == a.copy && (!a.copy || other.origin == f.origin) {
			a.nth++
		}
	}
	plan.attempts = append(plan.attempts, a)
	f.now = a
	f.m.note("%s: head of %s, number %d", f.origin.name, id, a.nth+1)
	if a.copy {
		f.m.checkCopy(plan, a, q)
	} else {
		plan.head = q.fields
		f.m.checkAttempt(plan, a, q)
		f.m.checkWave(plan, f.origin)
	}
	r := rnd(f.m.seed, text(id), uint64(a.nth), text(f.origin.name))
	f.decide(plan, a, r)
}

// decide draws what becomes of a request, and does what is done at its head.
func (f *far) decide(plan *plan, a *attempt, r *rand.Rand) {
	a.key = r.Uint64()
	a.status, a.size = 200, []int{0, 1, 100, 5000, 33000, 70000, 200000}[r.IntN(7)]
	if r.IntN(3) > 0 {
		a.size = r.IntN(300)
	}
	f.deed = answer
	switch {
	case f.origin.style == silent:
		f.deed = never
	case f.origin.style == moody:
		f.deed = f.origin.judged.deed(a, r)
	case f.origin.style == wild && plan.upgraded && r.IntN(3) == 0:
		f.deed = switchWrongly
	case f.origin.style == wild && r.IntN(3) > 0:
		f.deed = deed(r.IntN(int(deeds)))
		if r.IntN(4) == 0 {
			a.status = []int{500, 503, 404, 502}[r.IntN(4)]
		}
	case r.IntN(6) == 0:
		f.deed = []deed{answerSlowly, answerInterim}[r.IntN(2)]
	}
	a.switches = plan.upgraded && r.IntN(5) > 0 && (f.deed == answer || f.deed == answerLate || f.deed == answerInterim)
	f.cut = r.IntN(1 + []int{10, 1000, 100000}[r.IntN(3)])
	f.dropped = false
	switch f.deed {
	case answerEarly, answerTooMuch:
		f.reply(plan, a, r)
	case answerInterim:
		f.out = append(f.out, "HTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n"...)
		f.write()
	case garbage:
		f.out = append(f.out, "I am no HTTP\r\n\r\n"...)
		f.closing = true
		f.write()
	case resetAtHead:
		f.p.Abort()
	case finAtHead:
		f.p.CloseWrite()
		f.closing = true
		f.stopped = r.IntN(2) == 0
	case stopReading:
		f.stopped = f.cut < 100
	}
}

func (f *far) onData(q *message) {
	if f.now == nil {
		return
	}
	f.now.got = q.size
	f.check(q)
	switch {
	case f.deed == resetInBody && q.size >= f.cut:
		f.p.Abort()
	case f.deed == stopReading && q.size >= f.cut:
		f.stopped = true
	}
}

func (f *far) check(q *message) {
	if plan := f.m.plans[q.field("X-Id")]; q.wrong || q.size > plan.size {
		f.m.fail("%s got another body than %s has", f.origin.name, plan.id)
	}
}

func (f *far) onEnd(q *message) {
	a := f.now
	if a == nil || f.p.Over() {
		return
	}
	plan := f.m.plans[q.field("X-Id")]
	f.m.note("%s: all of %s, deed %d, answer %d", f.origin.name, plan.id, f.deed, a.size)
	a.whole = true
	f.check(q)
	if q.size != plan.size || q.trailer != plan.trailer {
		f.m.fail("%s got %d bytes of %s as if they were all %d (trailers %q)", f.origin.name, q.size, plan.id, plan.size,
			q.trailer)
	}
	r := rnd(f.m.seed, text(plan.id), uint64(a.nth), text(f.origin.name), 2)
	switch f.deed {
	case answerEarly, answerTooMuch: // it is on its way, or was
		f.done()
	case never, garbage, finAtHead, resetInBody, stopReading:
	case answerLate:
		f.p.After(time.Duration(1+r.IntN(20))*time.Second, func() { f.reply(plan, a, r) })
	default:
		f.p.After(time.Duration(r.IntN(30000))*time.Microsecond, func() { f.reply(plan, a, r) })
	}
}
