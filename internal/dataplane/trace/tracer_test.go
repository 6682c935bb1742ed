// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
	"github.com/umbra-mesh/umbra/internal/dataplane/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector is a sink that keeps what it gets, once it is let go.
type collector struct {
	enter chan struct{} // nil, or: told at each Export
	leave chan struct{} // nil, or: waited for

	mu    sync.Mutex
	names []string
}

func (c *collector) Export(spans []Span) {
	if c.enter != nil {
		c.enter <- struct{}{}
		<-c.leave
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range spans {
		c.names = append(c.names, string(spans[i].Get(Name)))
	}
}

func tracer(t *testing.T, sink Sink, percent float64, ring int) (*Tracer, *stats.Set, *stats.Registry) {
	t.Helper()
	r := stats.NewRegistry(1)
	tr := New(Config{Sink: sink, Workers: 1, Registry: r, Sampling: percent, Ring: ring, ServiceName: "umbra"})
	t.Cleanup(tr.Close)
	return tr, r.Set(traceStats), r
}

func (t *Tracer) put(name string) bool {
	s := t.Open(0)
	if s == nil {
		return false
	}
	Set(s, Name, name)
	t.Commit(0)
	return true
}

func TestEverySpanReachesTheSinkInOrder(t *testing.T) {
	sink := &collector{}
	tr, _, _ := tracer(t, sink, 100, 7)
	var want []string
	for i := range 1000 {
		name := fmt.Sprint(i)
		deadline := time.Now().Add(30 * time.Second)
		for !tr.put(name) {
			if time.Now().After(deadline) {
				t.Fatal("the sink does not catch up")
			}
		}
		want = append(want, name)
	}
	tr.Close()
	if got := strings.Join(sink.names, " "); got != strings.Join(want, " ") {
		t.Errorf("got %s", got)
	}
}

func TestASinkThatWaitsCostsSpansAndNoTime(t *testing.T) {
	sink := &collector{enter: make(chan struct{}), leave: make(chan struct{})}
	tr, set, r := tracer(t, sink, 100, 4)
	if !tr.put("first") {
		t.Fatal("no room for one span")
	}
	within(t, sink.enter)
	kept := 0
	for range 10 { // the sink holds the first span, which counts as taken only when it returns
		if tr.put("more") {
			kept++
		}
	}
	if kept != 3 {
		t.Errorf("%d more spans were kept, want 3", kept)
	}
	r.Publish(0)
	sum := set.Sum()
	if total, dropped := sum.Get(spansTotal), sum.Get(spansDropped); total != 11 || dropped != 7 {
		t.Errorf("%d spans, %d dropped", total, dropped)
	}
	sink.leave <- struct{}{}
	within(t, sink.enter)
	sink.leave <- struct{}{}
	tr.Close()
	if len(sink.names) != 4 {
		t.Errorf("the sink got %v", sink.names)
	}
}

func within(t *testing.T, c chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
	}
}

func TestSpansTextIsBoundedAndForgotten(t *testing.T) {
	sink := &collector{}
	tr, _, _ := tracer(t, sink, 100, 1)
	s := tr.Open(0)
	Set(s, Target, strings.Repeat("x", 3*maxText))
	Set(s, Name, "late")
	if len(s.Get(Target)) != maxText || len(s.Get(Name)) != 0 {
		t.Errorf("%d bytes and %q", len(s.Get(Target)), s.Get(Name))
	}
	again := tr.Open(0) // not committed: the same room
	if again != s || len(again.Get(Target)) != 0 {
		t.Errorf("%q left from the span before", again.Get(Target))
	}
}

const uuid = "0000270f-1111-4222-8333-444455556666" // draws 9,999

func TestReasonIsDecidedAndPacked(t *testing.T) {
	for _, c := range []struct {
		id, client string
		percent    float64
		want       string
		sampled    bool
	}{
		{uuid, "", 100, "9", true},
		{uuid, "", 99.99, "4", false}, // strictly less
		{"0000270e" + uuid[8:], "", 99.99, "9", true},
		{uuid, "", 0, "4", false},
		{uuid, "mine", 0, "b", true},
		{"0000270f-1111-9222-8333-444455556666", "", 0, "9", true},
		{"0000270f-1111-a222-8333-444455556666", "", 0, "a", true},
		{"0000270f-1111-b222-8333-444455556666", "", 0, "b", true},
		{"0000270f-1111-7222-8333-444455556666", "", 100, "9", true},
		{"mine", "", 100, "", false}, // no UUID draws nothing and is left alone
		{"zzzzzzzz-1111-4222-8333-444455556666", "", 100, "4", false},
	} {
		tr, _, _ := tracer(t, &collector{}, c.percent, 1)
		h := request("x-request-id: " + c.id)
		if c.client != "" {
			h.Fields = append(h.Fields, request("x-client-trace-id: "+c.client).Fields...)
		}
		own, parent := tr.Begin(h, [3]uint64{1, 2, 3})
		id := string(h.Get(codec.RequestID))
		if c.want != "" && id[14:15] != c.want || c.want == "" && id != c.id || own.Sampled != c.sampled || parent.Valid() {
			t.Errorf("%+v: id %s, sampled %v", c, id, own.Sampled)
		}
		if !own.Valid() || own.Deferred {
			t.Errorf("%+v: context %+v", c, own)
		}
	}
}

func TestAnIncomingContextDecidesAboutSampling(t *testing.T) {
	for fields, want := range map[string]bool{
		"traceparent: 00-" + id128 + "-" + span1 + "-01": true,
		"traceparent: 00-" + id128 + "-" + span1 + "-00": false,
	} {
		for _, percent := range []float64{0, 100} {
			tr, _, _ := tracer(t, &collector{}, percent, 1)
			own, parent := tr.Begin(request("x-request-id: "+uuid, fields), [3]uint64{1, 2, 3})
			if own.Trace != parent.Trace || own.Span == parent.Span || own.Sampled != want || !parent.Valid() {
				t.Errorf("%s at %v %%: %+v of %+v", fields, percent, own, parent)
			}
		}
	}
	// B3 may leave it open.
	for percent, want := range map[float64]bool{0: false, 100: true} {
		tr := New(Config{Sink: &collector{}, Registry: stats.NewRegistry(0), Sampling: percent, Formats: B3Single})
		own, parent := tr.Begin(request("x-request-id: "+uuid, "b3: "+id64+"-"+span1), [3]uint64{1, 2, 3})
		if own.Trace != parent.Trace || own.Sampled != want || own.Deferred {
			t.Errorf("open at %v %%: %+v", percent, own)
		}
		tr.Close()
	}
}

func TestChildren(t *testing.T) {
	for _, sampled := range []bool{false, true} {
		c := Context{Trace: id(1, 2), Span: spanID(3), Sampled: sampled}
		for d, want := range map[Decision]bool{Inherit: sampled, Sampled: true, NotSampled: false} {
			if k := c.Child(d, 9); k.Trace != c.Trace || k.Span != spanID(9) || k.Sampled != want {
				t.Errorf("child of %v by %v: %+v", sampled, d, k)
			}
		}
	}
}

func TestSpansAllocateNothing(t *testing.T) {
	tr, _, _ := tracer(t, &collector{}, 100, 1)
	h := request("x-request-id: "+uuid, "traceparent: 00-"+id128+"-"+span1+"-01")
	h.Buf = make([]byte, 0, 1<<10)
	came := slices.Clone(h.Fields)
	once := func() {
		h.Buf, h.Fields = h.Buf[:0], append(h.Fields[:0], came...)
		own, _ := tr.Begin(h, [3]uint64{1, 2, 3})
		Write(h, W3C, &own, true)
		s := tr.Open(0)
		s.Context = own
		Set(s, Name, "op")
		Set(s, RequestID, h.Get(codec.RequestID))
	}
	once()
	if n := testing.AllocsPerRun(1000, once); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
