// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/dataplane/trace"
)

const mirrored = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: default}
spec:
  hosts: ["*"]
  gateways: [gw]
  http:
  - route: [{destination: {host: a.test}}]
    mirror: {host: m.test}
`

// collect starts a collector of spans.
func collect(t *testing.T) (url string, spans <-chan *tracepb.Span) {
	got := make(chan *tracepb.Span, 64)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("content-encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		raw, err := io.ReadAll(body)
		var msg coltracepb.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(raw, &msg) != nil {
			t.Errorf("not an export request: %v", err)
			return
		}
		for _, rs := range msg.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, span := range ss.GetSpans() {
					got <- span
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

// traced serves a and its mirror m, with traces.
func traced(t *testing.T, options app.TraceOptions) (ports [2]int, a, m *upstream) {
	a, m = newUpstream(t, "a", nil), newUpstream(t, "m", nil)
	ports = freePorts(t)
	yaml := os.Expand(mesh("a m")+mirrored, func(key string) string {
		return strconv.Itoa(map[string]*upstream{"PORT_a": a, "PORT_m": m}[key].port)
	})
	running, err := app.New(app.Options{Workers: 1, LateLoops: true, Trace: options, Input: app.Input{
		Paths: []string{"-"}, Stdin: strings.NewReader(yaml), Bind: "127.0.0.1", Namespace: "default",
		Ports: map[uint32]uint32{80: uint32(ports[0])},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.Close)
	return ports, a, m
}

func TestACopyIsAChildSpanNamedMirror(t *testing.T) {
	url, spans := collect(t)
	ports, a, m := traced(t, app.TraceOptions{Endpoint: url, Sampling: 0, Service: "edge", Formats: trace.W3C | trace.B3})
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	exchange(t, ports, "GET", "/x", []string{"traceparent: 00-" + id + "-" + parent + "-01"})

	production, ok := receive(a)
	copied, also := receive(m)
	if !ok || !also {
		t.Fatal("nothing arrived")
	}
	above, _ := production.get("traceparent")
	below, _ := copied.get("traceparent")
	for name, v := range map[string]string{"production": above, "the copy": below} {
		if len(v) != 55 || v[3:35] != id || v[36:52] == parent {
			t.Errorf("traceparent of %s is %q", name, v)
		}
	}
	if above == below {
		t.Errorf("the copy is the same span: %s", above)
	}
	if v, _ := production.get("x-b3-traceid"); v != id {
		t.Errorf("x-b3-traceid %q", v)
	}

	// The copy's is not sampled: Istio emits trace_sampled: false. Production's comes out.
	select {
	case s := <-spans:
		if hex.EncodeToString(s.GetTraceId()) != id || hex.EncodeToString(s.GetParentSpanId()) != parent ||
			hex.EncodeToString(s.GetSpanId()) != above[36:52] {
			t.Errorf("span %v", s)
		}
	case <-time.After(deadline):
		t.Fatal("no span")
	}
	if !strings.HasSuffix(above, "-01") || !strings.HasSuffix(below, "-00") {
		t.Errorf("sampled: production %s, copy %s", above, below)
	}
}

func TestTheRequestIDTellsWhyATraceIsTaken(t *testing.T) {
	url, spans := collect(t)
	ports, a, m := traced(t, app.TraceOptions{Endpoint: url, Sampling: 100})
	exchange(t, ports, "GET", "/", nil)
	production, _ := receive(a)
	copied, ok := receive(m)
	id, _ := production.get("x-request-id")
	same, _ := copied.get("x-request-id")
	if !ok || len(id) != 36 || id[14] != '9' || same != id {
		t.Errorf("x-request-id %q, of the copy %q: want the digit 9 for sampled, and both the same", id, same)
	}
	select {
	case s := <-spans:
		if len(s.GetParentSpanId()) != 0 || s.GetName() == "" {
			t.Errorf("span %v", s)
		}
	case <-time.After(deadline):
		t.Fatal("no span")
	}
}

func TestWithoutTracesTheContextTravelsUnchanged(t *testing.T) {
	ports, a, m := traced(t, app.TraceOptions{})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	exchange(t, ports, "GET", "/", []string{"traceparent: " + parent, "b3: 0", "tracestate: v=1"})
	for _, u := range []*upstream{a, m} {
		s, _ := receive(u)
		got, _ := s.get("traceparent")
		state, _ := s.get("tracestate")
		b3, _ := s.get("b3")
		if fmt.Sprint(got, state, b3) != fmt.Sprint(parent, "v=1", "0") {
			t.Errorf("%s: %q %q %q", u.name, got, state, b3)
		}
	}
	exchange(t, ports, "GET", "/", nil)
	s, _ := receive(a)
	if id, _ := s.get("x-request-id"); len(id) != 36 || id[14] != '4' {
		t.Errorf("x-request-id %q is no plain random UUID", id)
	}
}
