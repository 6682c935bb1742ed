// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/internal/dataplane/proxy"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

// span is what a sink got of one.
type span struct {
	trace.Span
	name, upstream, cluster, outcome, method string
}

// spans is a sink.
type spans struct {
	mu  sync.Mutex
	all []span
}

func (s *spans) Export(list []trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		p := &list[i]
		text := func(k trace.Key) string { return string(p.Get(k)) }
		s.all = append(s.all, span{
			*p, text(trace.Name), text(trace.Upstream), text(trace.Cluster), text(trace.Outcome), text(trace.Method),
		})
	}
}

// wait returns the spans once there are n, the primary's first.
func (s *spans) wait(t *testing.T, n int) []span {
	t.Helper()
	var all []span
	eventually(t, "spans", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		all = append([]span{}, s.all...)
		return len(all) >= n
	})
	if len(all) != n {
		t.Fatalf("%d spans, want %d", len(all), n)
	}
	if n == 2 && all[0].Kind != trace.Server {
		all[0], all[1] = all[1], all[0]
	}
	return all
}

func text[T trace.ID | trace.SpanID](id T) string {
	switch v := any(id).(type) {
	case trace.ID:
		return hex.EncodeToString(v[:])
	case trace.SpanID:
		return hex.EncodeToString(v[:])
	}
	return ""
}

const (
	clientTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan  = "00f067aa0ba902b7"
)

func TestSpansOfARequestAndItsCopy(t *testing.T) {
	sink := &spans{}
	r := setup{sink: sink, sampling: 100}.rig(t)
	a := r.to("a", r.policy("b", 100))
	a.Operation = "shop.example:80/*"
	primary, copied := r.pairOf(t, a, get("/p"))
	all := sink.wait(t, 2)
	p, c := all[0], all[1]
	if p.name != "shop.example:80/*" || p.Kind != trace.Server || p.Parent != (trace.SpanID{}) || p.Status != 200 || p.Tries != 1 ||
		p.Failed || p.cluster != "a" || p.upstream == "" || p.method != "GET" {
		t.Errorf("primary's span: %+v", p)
	}
	if c.name != "mirror" || c.Kind != trace.Client || c.Parent != p.Context.Span || c.Context.Trace != p.Context.Trace ||
		c.Context.Span == p.Context.Span || c.Status != 200 || c.outcome != "delivered" || c.cluster != "b" {
		t.Errorf("copy's span: %+v", c)
	}
	if got, want := value(primary, "traceparent"), "00-"+text(p.Context.Trace)+"-"+text(p.Context.Span)+"-01"; got != want {
		t.Errorf("primary %s, want %s", got, want)
	}
	if got, want := value(copied, "traceparent"), "00-"+text(c.Context.Trace)+"-"+text(c.Context.Span)+"-01"; got != want {
		t.Errorf("copy %s, want %s", got, want)
	}
	if value(primary, "x-envoy-decorator-operation") != "shop.example:80/*" {
		t.Errorf("the operation is not told:\n%s", primary)
	}
	if id := value(primary, "x-request-id"); id[14] != '9' || value(copied, "x-request-id") != id {
		t.Errorf("reason in the request ids: %s, copy %s", id, value(copied, "x-request-id"))
	}
	if p.End.Before(p.Start) || c.End.Before(c.Start) {
		t.Errorf("spans end before they start")
	}
}

func TestSampledFlags(t *testing.T) {
	parent := func(flag string) string { return "traceparent: 00-" + clientTrace + "-" + clientSpan + "-" + flag }
	for name, c := range map[string]struct {
		sampling        float64
		field           string
		policy          trace.Decision
		primary, copied string // the flags
		spans           int
		reason          byte
	}{
		"nobody asks":                        {0, "x: y", trace.Inherit, "00", "00", 0, '4'},
		"the client samples":                 {0, parent("01"), trace.Inherit, "01", "01", 2, '4'},
		"the client does not":                {100, parent("00"), trace.Inherit, "00", "00", 0, '9'},
		"the copy does not, as Istio's":      {100, "x: y", trace.NotSampled, "01", "00", 1, '9'},
		"the copy alone":                     {0, "x: y", trace.Sampled, "00", "01", 1, '4'},
		"a client's debugging id":            {0, "x-client-trace-id: mine", trace.Inherit, "01", "01", 2, 'b'},
		"a malformed context begins a trace": {100, "traceparent: 00-nonsense", trace.Inherit, "01", "01", 2, '9'},
	} {
		t.Run(name, func(t *testing.T) {
			sink := &spans{}
			r := setup{sink: sink, sampling: c.sampling}.rig(t)
			p := r.policy("b", 100)
			p.Sampled = c.policy
			primary, copied := r.pairOf(t, r.to("a", p), get("/", c.field, "tracestate: k=v"))
			r.copiesEnded("b")
			for _, x := range []struct{ what, head, want string }{{"primary", primary, c.primary}, {"copy", copied, c.copied}} {
				if got := value(x.head, "traceparent"); !strings.HasSuffix(got, "-"+x.want) {
					t.Errorf("%s: %s, want flags %s", x.what, got, x.want)
				}
			}
			carried := strings.HasPrefix(c.field, "traceparent: 00-4")
			if in := strings.Contains(value(primary, "traceparent"), clientTrace); in != carried {
				t.Errorf("trace of the client: %v", in)
			}
			if strings.Contains(primary, clientSpan) || strings.Contains(copied, clientSpan) {
				t.Error("the client's span is told as if it were ours")
			}
			if kept := value(primary, "tracestate") == "k=v"; kept != carried {
				t.Errorf("tracestate kept: %v", kept)
			}
			if id := value(primary, "x-request-id"); id[14] != c.reason {
				t.Errorf("request id %s, want reason %c", id, c.reason)
			}
			sink.wait(t, c.spans)
		})
	}
}

func TestB3(t *testing.T) {
	sink := &spans{}
	r := setup{sink: sink, formats: trace.B3 | trace.B3Single}.rig(t)
	primary, copied := r.pairOf(t, r.to("a", r.policy("b", 100)),
		get("/", "X-B3-TraceId: "+clientTrace, "X-B3-SpanId: "+clientSpan, "X-B3-ParentSpanId: 1", "X-B3-Sampled: 1"))
	all := sink.wait(t, 2)
	for i, head := range []string{primary, copied} {
		id := text(all[i].Context.Span)
		if value(head, "x-b3-traceid") != clientTrace || value(head, "x-b3-spanid") != id || value(head, "x-b3-sampled") != "1" ||
			value(head, "x-b3-parentspanid") != "-" || value(head, "b3") != clientTrace+"-"+id+"-1" || value(head, "traceparent") != "-" {
			t.Errorf("%d: span %s\n%s", i, id, head)
		}
	}
	if text(all[0].Parent) != clientSpan {
		t.Errorf("parent %s", text(all[0].Parent))
	}
}

func TestSidecarGoesByTheReasonInTheRequestID(t *testing.T) {
	sink := &spans{}
	r := setup{sink: sink, change: func(c *proxy.ListenerConfig) { c.UseRemoteAddress = false }}.rig(t)
	const id = "12345678-1234-9234-8234-123456789abc"
	primary, _ := r.pairOf(t, r.to("a", r.policy("b", 100)), get("/", "X-Request-Id: "+id))
	if value(primary, "x-request-id") != id || !strings.HasSuffix(value(primary, "traceparent"), "-01") {
		t.Errorf("%s", primary)
	}
	if all := sink.wait(t, 2); all[0].name != "egress shop.example" {
		t.Errorf("name %q", all[0].name)
	}
}

func TestUpstreamNamesTheOperationAndTheClientIsNotTold(t *testing.T) {
	sink := &spans{}
	r := setup{sink: sink, sampling: 100}.rig(t)
	r.cluster("a", answering(t, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nx-envoy-decorator-operation: theirs\r\n\r\n"))
	r.serve(r.to("a"))
	if _, head := r.get2("/"); strings.Contains(head, "decorator") {
		t.Errorf("%s", head)
	}
	if p := sink.wait(t, 1)[0]; p.name != "theirs" || !p.Failed || p.Status != 500 {
		t.Errorf("%+v", p)
	}
}

func TestSpanOfARequestThatIsAnsweredHere(t *testing.T) {
	sink := &spans{}
	r := setup{sink: sink, sampling: 100}.rig(t)
	a := r.to("a", r.policy("b", 100))
	a.Direct = directOf("here")
	r.serve(a)
	r.get2("/")
	if p := sink.wait(t, 1)[0]; p.Status != 200 || p.Tries != 0 || p.cluster != "" {
		t.Errorf("%+v", p)
	}
}

func TestSpanOfACopyThatWasDropped(t *testing.T) {
	sink := &spans{}
	r := setup{sink: sink, sampling: 100}.rig(t)
	r.cluster("a", answering(t, empty200))
	r.cluster("b", nobody(t))
	r.serve(r.to("a", r.policy("b", 100)))
	r.get2("/")
	if c := sink.wait(t, 2)[1]; c.outcome != "connect" || !c.Failed || c.Status != 0 {
		t.Errorf("%+v", c)
	}
}

func TestWithoutATracerContextsPassUnchanged(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	const parent = "00-" + clientTrace + "-" + clientSpan + "-01"
	primary, copied := r.pairOf(t, r.to("a", r.policy("b", 100)),
		get("/", "traceparent: "+parent, "tracestate: k=v", "b3: 0", "x-b3-sampled: 1"))
	for _, head := range []string{primary, copied} {
		if value(head, "traceparent") != parent || value(head, "tracestate") != "k=v" || value(head, "b3") != "0" ||
			value(head, "x-b3-sampled") != "1" || value(head, "x-request-id")[14] != '4' {
			t.Errorf("%s", head)
		}
	}
}
