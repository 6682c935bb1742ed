// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/chunk"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/codec/http1"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

func TestNilTapDoesNothing(t *testing.T) {
	var tap *Tap
	tap.Begin(nil, nil, true)
	tap.Data(chunk.Bytes{B: []byte("x")})
	tap.Replay(nil)
	tap.End(nil)
	tap.Abort()
	tap.Done(200, 0)
	r := newRig(t, Limits{})
	p := r.policy("b")
	p.Numerator = 0
	r.do(func() {
		if got := r.local.Arm([]Policy{p}, &Request{Draw: 7, Head: head(t, get)}); got != nil {
			t.Error("a tap without a copy")
		}
	})
}

// Tap calls in every order that production's side could make them; what has ended stays ended.
func TestTapEndsOnceInAnyOrder(t *testing.T) {
	r := newRig(t, Limits{})
	p := r.policy("b", server(t, ok))
	h, x := head(t, get), chunk.Bytes{B: []byte("x")}
	for _, c := range []struct {
		name  string
		calls func(t *Tap)
		want  string
	}{
		{"abort before begin", func(t *Tap) { t.Abort(); t.Begin(h, nil, true); t.End(nil); t.Done(503, 0) }, "refused"},
		{"done before begin", func(t *Tap) { t.Done(503, 0) }, "refused"},
		{"end before begin", func(t *Tap) { t.End(nil); t.Data(x); t.Abort(); t.Done(0, 0) }, "refused"},
		{"abort", func(t *Tap) {
			t.Begin(h, nil, false)
			t.Data(x)
			t.Abort()
			t.Abort()
			t.End(nil)
			t.Done(0, 0)
		}, "partial"},
		{"done without end", func(t *Tap) { t.Begin(h, nil, false); t.Done(413, 0) }, "partial"},
		{"abort after end", func(t *Tap) {
			t.Begin(h, nil, true)
			t.Begin(h, nil, true)
			t.End(nil)
			t.End(nil)
			t.Abort()
			t.Done(504, 0)
		}, ""},
	} {
		before := r.counts(p)
		r.do(func() { c.calls(r.local.Arm([]Policy{p}, &Request{Draw: 0, Head: h})) })
		after := r.counts(p)
		if c.want == "" && after.Delivered != before.Delivered+1 ||
			c.want != "" && after.Dropped[c.want] != before.Dropped[c.want]+1 {
			t.Errorf("%s: %+v, before %+v", c.name, after, before)
		}
		if after.Selected != before.Selected+1 || p.Target.InFlight() != 0 || r.engine.Held() != 0 {
			t.Errorf("%s: %+v, %d in flight, %d held", c.name, after, p.Target.InFlight(), r.engine.Held())
		}
	}
}

func TestBodyIsSharedByCopiesAndCountedOnce(t *testing.T) {
	r := newRig(t, Limits{})
	ps := []Policy{r.policy("b"), r.policy("c")} // no host: the copies keep what they hold until the copies' part
	h := head(t, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n")
	r.do(func() {
		tap := r.local.Arm(ps, &Request{Draw: 0, Head: h})
		tap.Begin(h, nil, false)
		heads := r.engine.Held()
		c := r.w.Pool.Large()
		tap.Data(chunk.Bytes{B: c.Buf(), C: c})
		c.Release()
		if more := r.engine.Held() - heads; more != chunk.Size {
			t.Errorf("two copies of one chunk hold %d bytes", more)
		}
		for i := range ps {
			if n := ps[i].Target.held.Load(); n != chunk.Size+heads/2 {
				t.Errorf("target %d holds %d bytes, heads %d", i, n, heads/2)
			}
		}
		tap.End(nil)
		tap.Done(200, 0)
	})
	for _, p := range ps {
		if n := r.counts(p); n.Dropped["no_endpoint"] != 1 || p.Target.held.Load() != 0 {
			t.Errorf("%+v", n)
		}
	}
	if r.engine.Held() != 0 {
		t.Errorf("%d bytes held", r.engine.Held())
	}
}

// With one worker the bound is exact, whatever the pieces are: heads, bodies, trailers, replays.
func TestOneWorkerNeverHoldsMoreThanTheLimit(t *testing.T) {
	const limit = 2 << 20
	r := newRig(t, Limits{Memory: limit, Window: 1 << 30})
	var ps []Policy // a target each: one alone may not have it all
	for i := range 200 {
		ps = append(ps, r.policy(fmt.Sprint("b", i)))
	}
	field := "X-Big: " + strings.Repeat("x", 9000) + "\r\n"
	small := head(t, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	big := head(t, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"+field+"\r\n")
	trailers := http1.AppendTrailers(nil, head(t, "GET / HTTP/1.1\r\nHost: h\r\n"+field+"\r\n").Fields)
	var taps []*Tap
	check := func(what string) {
		if n := r.engine.Held(); n > limit {
			t.Errorf("%s of copy %d: %d bytes held", what, len(taps), n)
		}
	}
	r.do(func() {
		var replay chunk.Queue
		for i := range 2 { // few bytes in much memory
			c := r.w.Pool.Large()
			replay.Push(r.w.Pool, chunk.Bytes{B: c.Buf()[:16<<10], C: c})
			c.Release()
			replay.Append(r.w.Pool, make([]byte, 1000*i))
		}
		for i := range ps {
			tap := r.local.Arm(ps[i:i+1], &Request{Draw: 0, Head: small})
			taps = append(taps, tap)
			h := small
			if i%2 == 0 {
				h = big
			}
			tap.Begin(h, nil, false)
			check("head")
			if i%5 == 0 {
				tap.Replay(&replay)
				check("replay")
			}
			most := chunk.Size
			if i > 4 { // what fits in the least window
				most = 20_000
			}
			for j := range i % 4 { // in the end the short ones fill what the long ones leave
				c := r.w.Pool.Large()
				tap.Data(chunk.Bytes{B: c.Buf()[:1+(i*7919+j*16381+19_000)%most], C: c})
				c.Release()
				check("data")
			}
			tap.End(trailers)
			check("trailers")
		}
		if n := r.engine.Held(); n < limit*9/10 {
			t.Errorf("only %d bytes held: the test shows nothing", n)
		}
		for _, tap := range taps {
			tap.Done(200, 0)
		}
		replay.Free()
	})
	for _, p := range ps {
		r.counts(p)
	}
	if r.engine.Held() != 0 {
		t.Errorf("%d bytes held", r.engine.Held())
	}
}

// farConn is the mirror's end of one connection, for the test to play.
func (r *rig) farConn(h *codec.Head) (p Policy, tap *Tap, c *Copy, far *net.TCPConn) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	p = r.policy("far", l.Addr().String())
	r.do(func() {
		tap = r.local.Arm([]Policy{p}, &Request{Draw: 0, Head: h})
		c = tap.copies[0]
		tap.Begin(h, nil, false)
	})
	conn, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return p, tap, c, conn.(*net.TCPConn)
}

// on waits until a fact of the worker's holds.
func (r *rig) on(what string, holds func() bool) {
	r.t.Helper()
	eventually(r.t, what, func() (yes bool) { r.do(func() { yes = holds() }); return yes })
}

func TestConnectionLostAfterAnEarlyAnswer(t *testing.T) {
	r := newRig(t, Limits{})
	p, tap, c, far := r.farConn(head(t, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"))
	io.WriteString(far, ok(nil))
	r.on("answer read", func() bool { return c.answered })
	far.SetLinger(0)
	far.Close()
	r.on("connection lost, upload goes on", func() bool {
		if !c.done && !c.conn.IO.Closed() {
			return false
		}
		rx := r.w.Pool.Large()
		tap.Data(chunk.Bytes{B: rx.Buf(), C: rx})
		rx.Release()
		tap.End([]byte(http1.LastChunk))
		tap.Done(200, 0)
		return true
	})
	if n := r.counts(p); n.Dropped["reset"] != 1 || n.Sent != 0 {
		t.Errorf("%+v", n)
	}
	r.do(func() {})
	if r.engine.Held() != 0 {
		t.Errorf("%d bytes held", r.engine.Held())
	}
}

func TestAnswerHeadBeforeTheRequestIsWrittenIsNoDelivery(t *testing.T) {
	r := newRig(t, Limits{Memory: 256 << 20})
	const length = 7 << 20 // more than the kernel takes for a peer that reads nothing, less than the window
	p, tap, c, far := r.farConn(head(t, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", length)))
	io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
	r.on("head read", func() bool { return c.status == 200 })
	for range length / chunk.Size {
		r.do(func() {
			rx := r.w.Pool.Large()
			tap.Data(chunk.Bytes{B: rx.Buf(), C: rx})
			rx.Release()
		})
	}
	r.do(func() { tap.End(nil) })
	r.on("written as far as it goes", func() bool { return c.conn.IO.Sent() > 0 })
	far.SetLinger(0)
	far.Close()
	if n := r.counts(p); n.Sent != 0 || n.Dropped["reset"] != 1 {
		t.Errorf("%+v", n)
	}
	r.do(func() { tap.Done(200, 0) })
}

// Delivery panics, as the copy's connection is replaced by one without an inside.
func TestPanicInDeliveryKillsOneCopyAndFiveDisableTheTarget(t *testing.T) {
	r := newRig(t, Limits{})
	wait := make(chan struct{})
	sick := r.policy("sick", server(t, func(*http.Request) string { <-wait; return ok(nil) }))
	sound := r.policy("sound", server(t, ok))
	h := head(t, get)
	for i := range maxPanics + 2 {
		var c *Copy
		r.do(func() {
			tap := r.local.Arm([]Policy{sick, sound}, &Request{Draw: 0, Head: h})
			c = tap.copies[0]
			tap.Begin(h, nil, true)
			tap.End(nil)
			tap.Done(200, 0)
		})
		if i < maxPanics {
			ready := false
			eventually(t, "connected", func() bool { r.do(func() { ready = c.ready }); return ready })
			r.do(func() {
				real := c.conn
				c.conn = new(upstream.Conn) // broken: what looks into it panics
				r.w.Later(&c.task)
				r.w.Defer(freer(func() { real.Abort() }))
			})
		}
		if n := r.counts(sick); n.Dropped["panic"] != int64(i+1) {
			t.Fatalf("%+v", n)
		}
		if n := r.counts(sound); n.Delivered != int64(i+1) {
			t.Fatalf("the mirror beside: %+v", n)
		}
	}
	close(wait)
	if sick.Target.InFlight() != 0 || sick.Target.places.Load() != 0 {
		t.Errorf("%d in flight, %d places taken", sick.Target.InFlight(), sick.Target.places.Load())
	}
	r.do(func() {
		if n := strings.Count(r.errors.String(), "mirror disabled"); n != 1 {
			t.Errorf("told %d times that the mirror is disabled:\n%s", n, r.errors)
		}
	})
}

type freer func()

func (f freer) Free() { f() }

func TestDrainGivesCopiesTheirGraceAndDropsTheRest(t *testing.T) {
	r := newRig(t, Limits{})
	answer := make(chan struct{})
	p := r.policy("b", server(t, func(q *http.Request) string {
		if q.Method == "GET" {
			<-answer
		}
		return ok(q)
	}))
	slow, quick := head(t, get), head(t, strings.Replace(get, "GET", "PUT", 1))
	send := func() {
		for range 3 {
			tap := r.local.Arm([]Policy{p}, &Request{Draw: 0, Head: slow})
			tap.Begin(slow, nil, true)
			tap.End(nil)
			tap.Done(200, 0)
		}
		tap := r.local.Arm([]Policy{p}, &Request{Draw: 0, Head: quick})
		tap.Begin(quick, nil, true)
		tap.End(nil)
		tap.Done(200, 0)
	}
	drained := make(chan int, 2)
	const grace = time.Second // enough for the quick one, on a slow machine too
	begin := time.Now()
	r.do(func() {
		send()
		r.local.Drain(grace, func() { drained <- r.local.Live() })
		tap := r.local.Arm([]Policy{p}, &Request{Draw: 0, Head: quick}) // too late
		tap.Begin(quick, nil, true)
		tap.End(nil)
		tap.Done(200, 0)
	})
	if live := <-drained; live != 0 {
		t.Errorf("%d live when drained", live)
	}
	if took := time.Since(begin); took < grace {
		t.Errorf("grace of %v ended after %v", grace, took)
	}
	n := r.counts(p)
	if n.Dropped["shutdown"] != 4 || n.Delivered != 1 || p.Target.InFlight() != 0 {
		t.Errorf("%+v", n)
	}
	close(answer)

	r = newRig(t, Limits{})
	r.do(func() { r.local.Drain(time.Hour, func() { drained <- r.local.Live() }) })
	if live := <-drained; live != 0 { // nothing to wait for
		t.Errorf("%d live", live)
	}
	if len(drained) != 0 {
		t.Error("told twice")
	}
}

func TestLogLineOfEachCopyHasBothSides(t *testing.T) {
	r := newRig(t, Limits{})
	answer := make(chan struct{}, 1)
	p := r.policy("b", server(t, func(*http.Request) string {
		<-answer
		return "HTTP/1.1 418 T\r\nContent-Length: 0\r\n\r\n"
	}))
	none := r.policy("none")
	h := head(t, get)
	var tap *Tap
	begin := func() {
		tap = r.local.Arm([]Policy{p, none}, &Request{Draw: 0, Head: h})
		tap.Begin(h, nil, true)
		tap.End(nil)
	}
	// The copy ends before production, then after it.
	r.do(begin)
	answer <- struct{}{}
	r.counts(p)
	r.do(func() { tap.Done(201, 7*time.Millisecond) })
	r.do(begin)
	r.do(func() { tap.Done(202, 9*time.Millisecond) })
	answer <- struct{}{}
	r.counts(p)
	r.counts(none)
	r.do(func() {})
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(r.logFile)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 11 {
			t.Fatalf("line %q", line)
		}
		got[strings.Join([]string{f[1], f[2], f[3], f[6], f[7], f[8], f[10]}, " ")]++
	}
	want := map[string]int{
		`copy "id-1" test 201 418 7 delivered`: 1, `copy "id-1" test 201 - 7 no_endpoint`: 1,
		`copy "id-1" test 202 418 9 delivered`: 1, `copy "id-1" test 202 - 9 no_endpoint`: 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%s", d, text)
	}
}

func TestObjectsAreUsedAgainAndNotHoarded(t *testing.T) {
	r := newRig(t, Limits{})
	p := r.policy("b")
	h := head(t, get)
	r.do(func() {
		var taps []*Tap
		for range 2 * keepFree {
			taps = append(taps, r.local.Arm([]Policy{p}, &Request{Draw: 0, Head: h}))
		}
		for _, tap := range taps {
			tap.Done(503, 0)
		}
	})
	r.do(func() {
		if r.local.freeTaps != keepFree || r.local.freeCopies != keepFree {
			t.Errorf("%d taps and %d copies kept", r.local.freeTaps, r.local.freeCopies)
		}
		n := 0
		for c := r.local.copies; c != nil; c = c.next {
			n++
		}
		if n != keepFree || r.local.list != nil || r.local.Live() != 0 {
			t.Errorf("%d copies in the free list", n)
		}
	})
	if n := r.counts(p); n.Dropped["refused"] != 2*keepFree {
		t.Errorf("%+v", n)
	}
}
