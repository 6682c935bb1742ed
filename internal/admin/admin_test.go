// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/umbra-mesh/umbra/internal/admin"
	"github.com/umbra-mesh/umbra/internal/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// serve starts the pages on a socket of their own.
func serve(t *testing.T, d admin.Deps) *client {
	t.Helper()
	if d.Logger == nil {
		d.Logger = quiet
	}
	if d.Gatherer == nil {
		d.Gatherer = prometheus.NewRegistry()
	}
	s := httptest.NewServer(admin.New(d))
	t.Cleanup(s.Close)
	return &client{t: t, base: s.URL, http: s.Client()}
}

type client struct {
	t    *testing.T
	base string
	http *http.Client
}

type answer struct {
	status int
	body   string
	header http.Header
}

func (c *client) do(method, path string, header ...string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{resp.StatusCode, string(body), resp.Header}
}

func (c *client) get(path string) answer { c.t.Helper(); return c.do("GET", path) }

func (c *client) want(a answer, status int, body string) {
	c.t.Helper()
	if a.status != status || a.body != body {
		c.t.Errorf("got %d %q, want %d %q", a.status, a.body, status, body)
	}
}

func TestReadyStays200WithProblemsInItsBody(t *testing.T) {
	c := serve(t, admin.Deps{})
	c.want(c.get("/ready"), 200, "LIVE\n")
	c = serve(t, admin.Deps{Problems: func() []string { return []string{"a.yaml:3: no", "b.yaml:4: neither"} }})
	c.want(c.get("/ready"), 200, "LIVE\n2 configuration problems:\na.yaml:3: no\nb.yaml:4: neither\n")
	c = serve(t, admin.Deps{Problems: func() []string { return []string{"a.yaml:3: no"} }})
	c.want(c.get("/ready"), 200, "LIVE\n1 configuration problem:\na.yaml:3: no\n")
}

func TestReadyIs503WhileDraining(t *testing.T) {
	c := serve(t, admin.Deps{State: func() string { return "DRAINING" }})
	c.want(c.get("/ready"), 503, "DRAINING\n")
}

func TestMirrorsAreListedWithTheirCounts(t *testing.T) {
	c := serve(t, admin.Deps{Mirrors: func() []admin.Mirror {
		return []admin.Mirror{
			{
				ID: "default/httpbin", From: "http.80 */httpbin", To: "outbound|80||b", Share: 50, HostSuffix: "-shadow",
				Enabled: true, Selected: 7, Delivered: 3, Dropped: map[string]int64{"timeout": 2, "reset": 1}, InFlight: 1,
			},
			{ID: "<new>"},
		}
	}})
	a := c.get("/mirrors")
	c.want(a, 200, `[
  {
    "id": "default/httpbin",
    "from": "http.80 */httpbin",
    "to": "outbound|80||b",
    "share": 50,
    "host_suffix": "-shadow",
    "enabled": true,
    "selected": 7,
    "delivered": 3,
    "dropped": {
      "reset": 1,
      "timeout": 2
    },
    "in_flight": 1
  },
  {
    "id": "<new>",
    "from": "",
    "to": "",
    "share": 0,
    "host_suffix": "",
    "enabled": false,
    "selected": 0,
    "delivered": 0,
    "dropped": {},
    "in_flight": 0
  }
]
`)
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	c = serve(t, admin.Deps{})
	c.want(c.get("/mirrors"), 200, "[]\n")
}

func TestLogLevelIsShownAndSet(t *testing.T) {
	var out strings.Builder
	log := logging.New(&out, slog.LevelInfo)
	c := serve(t, admin.Deps{Log: log, Logger: log.Logger()})
	c.want(c.get("/logging"), 200, "active loggers:\n  umbra: info\n")
	c.want(c.do("POST", "/logging?level=debug"), 200, "active loggers:\n  umbra: debug\n")
	c.want(c.do("POST", "/logging?level=loud"), 400,
		"level \"loud\" is none of debug, info, warning, error: POST /logging?level=debug\n")
	if log.Level() != slog.LevelDebug {
		t.Errorf("level %v", log.Level())
	}
	log.Close()
	if !strings.Contains(out.String(), `msg="log level set" level=debug by=127.0.0.1:`) {
		t.Error(out.String())
	}
	c = serve(t, admin.Deps{})
	if a := c.get("/logging"); a.status != 404 {
		t.Errorf("without a log: %d", a.status)
	}
}

func TestKillSwitchIsSetByPostAlone(t *testing.T) {
	var on atomic.Bool
	on.Store(true)
	c := serve(t, admin.Deps{
		Mirrors:    func() []admin.Mirror { return []admin.Mirror{{ID: "m", Enabled: on.Load()}} },
		SetMirrors: on.Store,
	})
	enabled := func(a answer) bool {
		var list []admin.Mirror
		if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != 200 || len(list) != 1 {
			t.Errorf("%d %q: %v", a.status, a.body, err)
			return false
		}
		return list[0].Enabled
	}
	if !enabled(c.get("/mirrors?enabled=false")) || !on.Load() {
		t.Error("a GET turned mirrors off")
	}
	if enabled(c.do("POST", "/mirrors?enabled=false")) || on.Load() {
		t.Error("off did not turn mirrors off, or is not told")
	}
	if !enabled(c.do("POST", "/mirrors?enabled=true")) || !on.Load() {
		t.Error("on did not turn mirrors on, or is not told")
	}
	for _, q := range []string{"", "?enabled=", "?enabled=off", "?on=true"} {
		if a := c.do("POST", "/mirrors"+q); a.status != 400 || !strings.Contains(a.body, "enabled must be true or false") {
			t.Errorf("POST %q: %d %q", q, a.status, a.body)
		}
	}
	if a := c.do("PUT", "/mirrors?enabled=false"); a.status != 405 {
		t.Errorf("PUT: %d", a.status)
	}
	// What a browser sends when another site's page does it.
	a := c.do("POST", "/mirrors?enabled=false", "Sec-Fetch-Site", "cross-site", "Origin", "http://evil.example")
	if a.status != 403 || !on.Load() {
		t.Errorf("another site's POST: %d, mirrors on: %v", a.status, on.Load())
	}
}

func TestPagesThatOnlyShowRefuseEveryOtherMethod(t *testing.T) {
	c := serve(t, admin.Deps{Clusters: func() []admin.Cluster { return nil }})
	for _, path := range []string{
		"/", "/config_dump", "/stats", "/stats/prometheus", "/ready", "/clusters", "/debug/pprof/",
	} {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			if a := c.do(method, path); a.status != 405 {
				t.Errorf("%s %s: %d, want 405", method, path, a.status)
			}
		}
		if a := c.do("HEAD", path); a.status != 200 || a.body != "" {
			t.Errorf("HEAD %s: %d %q", path, a.status, a.body)
		}
	}
}

func TestIndexLinksWorkAndNameEveryPage(t *testing.T) {
	c := serve(t, admin.Deps{Clusters: func() []admin.Cluster { return nil }})
	index := c.get("/")
	var got []string
	entry := regexp.MustCompile(`<a href="([^"]*)">[^<]*</a></dt>\n<dd>[A-Z0-9][^<]+\.</dd>`)
	for _, m := range entry.FindAllStringSubmatch(index.body, -1) {
		got = append(got, m[1])
		if a := c.get(m[1]); a.status != 200 {
			t.Errorf("%s: %d", m[1], a.status)
		}
	}
	want := []string{"/config_dump", "/mirrors", "/clusters", "/stats", "/stats/prometheus", "/ready", "/debug/pprof/"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s\nin %s", diff, index.body)
	}
	c = serve(t, admin.Deps{})
	if strings.Contains(c.get("/").body, "/clusters") || c.get("/clusters").status != 404 {
		t.Error("/clusters is there without anything to show")
	}
	if a := c.get("/nothing"); a.status != 404 {
		t.Errorf("/nothing: %d", a.status)
	}
}

func someClusters() []admin.Cluster {
	return []admin.Cluster{
		{
			Name: "outbound|80||b", ServiceName: "b", MaxConnections: 1, MaxPending: 2, MaxRequests: 4294967295, MaxRetries: 3,
			Hosts: []admin.Host{
				{
					Addr: netip.MustParseAddrPort("10.0.0.1:80"), Name: "10.0.0.1:80", Hostname: "h", Weight: 5, Priority: 1,
					Region: "r", Zone: "z", SubZone: "s", Active: 7,
				},
				{Name: "/run/a.sock", Weight: 1, Unhealthy: true, Ejected: true},
			},
		},
		{Name: "none"},
	}
}

func TestClustersAreLinesOfEnvoysForm(t *testing.T) {
	c := serve(t, admin.Deps{Clusters: someClusters})
	c.want(c.get("/clusters"), 200, `outbound|80||b::observability_name::outbound|80||b
outbound|80||b::default_priority::max_connections::1
outbound|80||b::default_priority::max_pending_requests::2
outbound|80||b::default_priority::max_requests::4294967295
outbound|80||b::default_priority::max_retries::3
outbound|80||b::added_via_api::true
outbound|80||b::eds_service_name::b
outbound|80||b::10.0.0.1:80::rq_active::7
outbound|80||b::10.0.0.1:80::hostname::h
outbound|80||b::10.0.0.1:80::health_flags::healthy
outbound|80||b::10.0.0.1:80::weight::5
outbound|80||b::10.0.0.1:80::region::r
outbound|80||b::10.0.0.1:80::zone::z
outbound|80||b::10.0.0.1:80::sub_zone::s
outbound|80||b::10.0.0.1:80::canary::false
outbound|80||b::10.0.0.1:80::priority::1
outbound|80||b::10.0.0.1:80::success_rate::-1
outbound|80||b::10.0.0.1:80::local_origin_success_rate::-1
outbound|80||b::/run/a.sock::rq_active::0
outbound|80||b::/run/a.sock::hostname::
outbound|80||b::/run/a.sock::health_flags::/failed_outlier_check/failed_eds_health
outbound|80||b::/run/a.sock::weight::1
outbound|80||b::/run/a.sock::region::
outbound|80||b::/run/a.sock::zone::
outbound|80||b::/run/a.sock::sub_zone::
outbound|80||b::/run/a.sock::canary::false
outbound|80||b::/run/a.sock::priority::0
outbound|80||b::/run/a.sock::success_rate::-1
outbound|80||b::/run/a.sock::local_origin_success_rate::-1
none::observability_name::none
none::default_priority::max_connections::0
none::default_priority::max_pending_requests::0
none::default_priority::max_requests::0
none::default_priority::max_retries::0
none::added_via_api::true
`)
	if a := c.get("/clusters?format=xml"); a.status != 400 {
		t.Errorf("format=xml: %d %s", a.status, a.body)
	}
}

func TestClustersAsJSONAreEnvoysMessage(t *testing.T) {
	c := serve(t, admin.Deps{Clusters: someClusters})
	a := c.get("/clusters?format=json")
	if a.status != 200 || !strings.HasPrefix(a.body, "{\n \"cluster_statuses\": [\n") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var got adminv3.Clusters
	if err := protojson.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	first := got.GetClusterStatuses()[0]
	if first.GetEdsServiceName() != "b" || !first.GetAddedViaApi() ||
		first.GetCircuitBreakers().GetThresholds()[0].GetMaxRequests().GetValue() != 4294967295 {
		t.Errorf("cluster %v", first)
	}
	h := first.GetHostStatuses()[0]
	if h.GetAddress().GetSocketAddress().GetPortValue() != 80 || h.GetHealthStatus().GetEdsHealthStatus().String() != "HEALTHY" ||
		h.GetWeight() != 5 || h.GetPriority() != 1 || h.GetLocality().GetZone() != "z" || h.GetStats()[0].GetValue() != 7 {
		t.Errorf("host %v", h)
	}
	h = first.GetHostStatuses()[1]
	if h.GetAddress().GetPipe().GetPath() != "/run/a.sock" || !h.GetHealthStatus().GetFailedOutlierCheck() {
		t.Errorf("host %v", h)
	}
}

func metrics(t *testing.T) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	rq := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rq_total", Help: "Requests."}, []string{"cluster_name"})
	rq.WithLabelValues("a").Add(12_345_678)
	rq.WithLabelValues(`b"c`)
	live := prometheus.NewGauge(prometheus.GaugeOpts{Name: "live", Help: "Live."})
	live.Set(0.5)
	ms := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ms", Help: "Time.", Buckets: []float64{1}})
	ms.Observe(2)
	reg.MustRegister(rq, live, ms)
	return reg
}

func TestStatsAreOneLineASeries(t *testing.T) {
	c := serve(t, admin.Deps{Gatherer: metrics(t)})
	c.want(c.get("/stats"), 200, "live: 0.5\nms_count: 1\nms_sum: 2\n"+
		"rq_total{cluster_name=\"a\"}: 12345678\nrq_total{cluster_name=\"b\\\"c\"}: 0\n")
	c.want(c.get("/stats?usedonly&filter="+url.QueryEscape(`rq_.*name`)), 200, "rq_total{cluster_name=\"a\"}: 12345678\n")
	c.want(c.get("/stats?filter=("), 400, "Invalid regex: error parsing regexp: missing closing ): `(`\n")
	if a := c.get("/stats?format=json"); a.status != 400 {
		t.Errorf("json: %d", a.status)
	}
}

func TestPrometheusReadsTheSameNumbers(t *testing.T) {
	c := serve(t, admin.Deps{Gatherer: metrics(t)})
	for _, path := range []string{"/stats/prometheus", "/stats?format=prometheus"} {
		a := c.get(path)
		for _, line := range []string{
			"# TYPE rq_total counter\n", "rq_total{cluster_name=\"a\"} 1.2345678e+07\n", "ms_bucket{le=\"1\"} 0\n",
		} {
			if a.status != 200 || !strings.Contains(a.body, line) {
				t.Errorf("%s: %d without %q:\n%s", path, a.status, line, a.body)
			}
		}
	}
}

func TestProfilesAreServed(t *testing.T) {
	c := serve(t, admin.Deps{})
	if a := c.get("/debug/pprof/goroutine?debug=1"); a.status != 200 || !strings.Contains(a.body, "goroutine profile") {
		t.Errorf("goroutine: %d %q", a.status, a.body)
	}
	if a := c.get("/debug/pprof/cmdline"); a.status != 200 || !strings.Contains(a.body, "test") {
		t.Errorf("cmdline: %d %q", a.status, a.body)
	}
}

func TestChangesAreMadeByAddressNotByAForeignName(t *testing.T) {
	var switched int
	h := admin.New(admin.Deps{
		Gatherer: prometheus.NewRegistry(), Mirrors: func() []admin.Mirror { return nil },
		SetMirrors: func(bool) { switched++ },
	})
	for host, want := range map[string]int{
		"127.0.0.1:15000": 200, "[::1]:15000": 200, "localhost:15000": 200, "localhost": 200, "10.0.0.7": 200,
		"evil.example": 403, "evil.example:15000": 403, "localhost.evil.example:15000": 403,
	} {
		r := httptest.NewRequest(http.MethodPost, "/mirrors?enabled=false", nil)
		r.Host = host
		r.Header.Set("Origin", "http://"+host)
		w := httptest.NewRecorder()
		before := switched
		h.ServeHTTP(w, r)
		if w.Code != want || (switched > before) != (want == 200) {
			t.Errorf("Host %s: %d, want %d", host, w.Code, want)
		}
	}
}
