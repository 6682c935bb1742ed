// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// head is a head with fields written "Name: value".
func head(fields ...string) *codec.Head {
	h := &codec.Head{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Fields = append(h.Fields, codec.Field{ID: codec.Identify([]byte(name)), Name: []byte(name), Value: []byte(value)})
	}
	return h
}

func fields(h *codec.Head) (out []string) {
	for _, f := range h.Fields {
		if f.Name != nil {
			out = append(out, strings.ToLower(string(f.Name))+": "+string(f.Value))
		}
	}
	return out
}

const uuid = "00010203-0405-4607-8809-0a0b0c0d0e0f"

var random = [2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}

func TestRequestOfAnEdge(t *testing.T) {
	edge := Edge{Use: true, LocalIP: "192.0.2.1"}
	for name, c := range map[string]struct {
		peer string
		in   []string
		want []string
	}{
		"nothing sent": {"203.0.113.5", nil, []string{
			"x-forwarded-for: 203.0.113.5", "x-forwarded-proto: http", "x-envoy-external-address: 203.0.113.5",
			"x-request-id: " + uuid,
		}},
		"IPv6": {"2001:db8::1", nil, []string{
			"x-forwarded-for: 2001:db8::1", "x-forwarded-proto: http", "x-envoy-external-address: 2001:db8::1",
			"x-request-id: " + uuid,
		}},
		"loopback": {"127.0.0.1", nil, []string{
			"x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http", "x-envoy-external-address: 127.0.0.1",
			"x-request-id: " + uuid,
		}},
		"lists become one": {"203.0.113.5", []string{"X-Forwarded-For: ", "X-Forwarded-For: a, b", "X-Forwarded-For: c"}, []string{
			"x-forwarded-for: a, b,c,203.0.113.5", "x-forwarded-proto: http", "x-envoy-external-address: 203.0.113.5",
			"x-request-id: " + uuid,
		}},
		"claims are replaced": {"203.0.113.5", []string{
			"X-Request-Id: mine", "X-Forwarded-Proto: https", "x-envoy-external-address: 1.1.1.1", "Accept: */*",
		}, []string{
			"accept: */*",
			"x-forwarded-for: 203.0.113.5", "x-forwarded-proto: http", "x-envoy-external-address: 203.0.113.5",
			"x-request-id: " + uuid,
		}},
		"what only the inside may say": {"203.0.113.5", []string{
			"x-envoy-internal: true", "x-forwarded-client-cert: By=me", "x-envoy-decorator-operation: a",
			"x-envoy-downstream-service-cluster: a", "x-envoy-downstream-service-node: a", "x-envoy-original-path: /a",
			"x-envoy-original-host: a", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 9", "x-envoy-upstream-rq-timeout-ms: 1",
			"x-envoy-expected-rq-timeout-ms: 1", "x-envoy-force-trace: 1", "x-envoy-ip-tags: a", "x-envoy-attempt-count: 3",
		}, []string{
			"x-forwarded-for: 203.0.113.5", "x-forwarded-proto: http", "x-envoy-external-address: 203.0.113.5",
			"x-request-id: " + uuid,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := head(c.in...)
			edge.Request(h, netip.MustParseAddr(c.peer), random)
			if diff := cmp.Diff(c.want, fields(h)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRequestOfASidecar(t *testing.T) {
	for name, c := range map[string]struct{ in, want []string }{
		"nothing sent": {nil, []string{"x-forwarded-proto: http", "x-request-id: " + uuid}},
		"kept": {
			[]string{"X-Request-Id: mine", "X-Forwarded-For: a", "X-Forwarded-Proto: https",
				"x-envoy-external-address: 1.1.1.1", "x-envoy-original-path: /a"},
			[]string{"x-request-id: mine", "x-forwarded-for: a", "x-forwarded-proto: https",
				"x-envoy-external-address: 1.1.1.1", "x-envoy-original-path: /a"},
		},
		"empty is none": {[]string{"X-Request-Id: ", "X-Forwarded-Proto: "}, []string{"x-forwarded-proto: http", "x-request-id: " + uuid}},
		"no client is internal": {
			[]string{"x-envoy-internal: true", "x-envoy-max-retries: 9", "x-envoy-expected-rq-timeout-ms: 1", "x-forwarded-client-cert: By=me"},
			[]string{"x-forwarded-proto: http", "x-request-id: " + uuid},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := head(c.in...)
			(&Edge{LocalIP: "192.0.2.1"}).Request(h, netip.MustParseAddr("203.0.113.5"), random)
			if diff := cmp.Diff(c.want, fields(h)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefererThatIsNoURLIsRemoved(t *testing.T) {
	for value, stays := range map[string]bool{
		"http://a/b": true, "https://a.example:80/b?c=d": true, "android-app://x": false, "http://[::1]/": true,
		"": false, "/b": false, "a.example": false, "http://": false, "http:///b": false, "://a": false, "http://a b": false,
	} {
		h := head("Referer: "+value, "Accept: */*")
		(&Edge{}).Request(h, netip.MustParseAddr("203.0.113.5"), random)
		if got := h.Get(codec.Referer) != nil; got != stays {
			t.Errorf("%q stays: %v", value, got)
		}
	}
	h := head("Referer: http://a/", "Referer: http://b/")
	(&Edge{}).Request(h, netip.MustParseAddr("203.0.113.5"), random)
	if h.Get(codec.Referer) != nil {
		t.Error("two stay")
	}
}

// Joining many fields must not cost their number squared.
func TestManyForwardedForFieldsTakeLittleMemory(t *testing.T) {
	var in []string
	for range 100 {
		in = append(in, "X-Forwarded-For: "+strings.Repeat("1", 600))
	}
	h := head(in...)
	(&Edge{Use: true}).Request(h, netip.MustParseAddr("203.0.113.5"), random)
	if cap(h.Buf) > 128<<10 {
		t.Errorf("%d bytes", cap(h.Buf))
	}
	if n := len(h.Get(codec.ForwardedFor)); n != 100*601+len("203.0.113.5") {
		t.Errorf("%d bytes of list", n)
	}
}

func TestRequestIDIsARandomUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, r := range [][2]uint64{{}, {1<<64 - 1, 1<<64 - 1}, random} {
		if id := requestID(head(), r); !form.Match(id) {
			t.Errorf("%q", id)
		}
	}
}

func TestAttemptReplacesWhatTheOneBeforeSaid(t *testing.T) {
	h := head()
	for n, want := range [][]string{
		{"x-envoy-attempt-count: 1", "x-envoy-expected-rq-timeout-ms: 1500"},
		{"x-envoy-attempt-count: 2", "x-envoy-expected-rq-timeout-ms: 1"},
		{"x-envoy-attempt-count: 3", "x-envoy-expected-rq-timeout-ms: 20"},
	} {
		Attempt(h, true, n+1, []time.Duration{1500 * time.Millisecond, time.Microsecond, 20 * time.Millisecond}[n])
		if diff := cmp.Diff(want, fields(h)); diff != "" {
			t.Error(diff)
		}
	}
	h = head()
	Attempt(h, false, 1, 0)
	if len(fields(h)) != 0 {
		t.Errorf("%v", fields(h))
	}
}

func TestAnswerFields(t *testing.T) {
	h := head("Server: a", "server: b", "X: y")
	Answer(h, []byte("istio-envoy"), 1234567*time.Microsecond, []byte("now"))
	want := []string{"x: y", "server: istio-envoy", "x-envoy-upstream-service-time: 1234", "date: now"}
	if diff := cmp.Diff(want, fields(h)); diff != "" {
		t.Error(diff)
	}
	h = head("Server: a", "Date: then")
	Answer(h, nil, 0, []byte("now"))
	want = []string{"server: a", "date: then", "x-envoy-upstream-service-time: 0"}
	if diff := cmp.Diff(want, fields(h)); diff != "" {
		t.Error(diff)
	}
}
