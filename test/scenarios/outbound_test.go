// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// canary runs the example, with the services given as text beside it.
func canary(t *testing.T, more string) (p proxy, v1, mirroring *workload) {
	t.Helper()
	v1, mirroring = newWorkload(t, "v1"), newWorkload(t, "v1-mirroring")
	text := example(t, "canary-mirror/myapp.yaml", port(9001), port(v1.port), port(9002), port(mirroring.port))
	return serve(t, text+more, outbound(t)), v1, mirroring
}

func TestCanarySeesACopyOfEveryRequestForTheService(t *testing.T) {
	p, v1, mirroring := canary(t, "")
	hosts := []string{
		"myapp", "myapp:8000", "myapp.default", "myapp.default.svc", "myapp.default.svc.cluster.local",
		"myapp.default.svc.cluster.local:8000", "MyApp",
	}
	want := []string{
		"myapp-shadow", "myapp-shadow:8000", "myapp.default-shadow", "myapp.default.svc-shadow",
		"myapp.default.svc.cluster.local-shadow", "myapp.default.svc.cluster.local-shadow:8000", "MyApp-shadow",
	}
	for i, host := range hosts {
		resp, body := p.get(t, host, "/headers")
		if err := by("v1")(resp); err != nil {
			t.Errorf("Host %s: %v: %s", host, err, body)
			continue
		}
		copied := mirroring.wait(t, i+1)[i]
		if got := v1.all()[i]; got.Host != host || copied.Host != want[i] || copied.Target != "/headers" {
			t.Errorf("Host %s: v1 saw %s, the copy is for %s, want %s", host, got.Host, copied.Host, want[i])
		}
	}
	if m := p.settled(t); m.Delivered != int64(len(hosts)) {
		t.Errorf("%+v", m)
	}
}

func TestOutboundListenerTakesRequestsAsAProxyDoes(t *testing.T) {
	p, v1, mirroring := canary(t, "")
	via, err := url.Parse("http://" + p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://myapp/anything/x?y=1",
		strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	resp, body := do(t, &http.Transport{Proxy: http.ProxyURL(via), DisableKeepAlives: true}, req)
	if err := by("v1")(resp); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for host, w := range map[string]*workload{"myapp": v1, "myapp-shadow": mirroring} {
		if r := w.wait(t, 1)[0]; r.Host != host || r.Target != "/anything/x?y=1" || r.Body != "body" {
			t.Errorf("%s saw %s %s for Host %s with %q, want Host %s", w.name, r.Method, r.Target, r.Host, r.Body, host)
		}
	}
	// RFC 9112 §3.2.2: the target's host is meant, whatever Host says.
	answer := raw(t, p.Addr,
		"GET http://myapp:8000/headers HTTP/1.1\r\nHost: elsewhere\r\nProxy-Connection: keep-alive\r\n\r\n")
	if err := by("v1")(answer); err != nil {
		t.Error(err)
	}
	if r := v1.wait(t, 2)[1]; r.Host != "myapp:8000" || r.Header.Get("Proxy-Connection") != "" {
		t.Errorf("v1 saw Host %s, %v", r.Host, r.Header)
	}
}

// raw sends bytes and reads one answer.
func raw(t *testing.T, addr, text string) *http.Response {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, meshtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestOutboundListenerNamesThePortsWhenTheHostDoesNotPickOne(t *testing.T) {
	first, second, web := newWorkload(t, "first"), newWorkload(t, "second"), newWorkload(t, "web")
	several := func(name string, ports ...any) string {
		text := fmt.Sprintf("\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: %[1]s}\n"+
			"spec:\n  hosts: [%[1]s.example]\n  resolution: STATIC\n  ports:\n", name)
		at := ""
		for i := 0; i < len(ports); i += 2 {
			text += fmt.Sprintf("  - {number: %d, name: http-%[1]d, protocol: HTTP}\n", ports[i])
			at += fmt.Sprintf("http-%d: %d, ", ports[i], ports[i+1])
		}
		return text + "  endpoints: [{address: 127.0.0.1, ports: {" + at + "}}]\n"
	}
	p, _, _ := canary(t, several("two", 8001, first.port, 8002, second.port)+
		several("web", 80, web.port, 8003, second.port))
	for host, name := range map[string]string{
		"two.example:8001": "first", "two.example:8002": "second",
		"web.example": "web", "web.example:80": "web", "web.example:8003": "second",
	} {
		if resp, body := p.get(t, host, "/headers"); by(name)(resp) != nil {
			t.Errorf("Host %s: %v: %s", host, by(name)(resp), body)
		}
	}
	for host, ports := range map[string]string{
		"two.example": "8001, 8002", "two.example:9": "8001, 8002", "myapp:9": "8000", "web.example:81": "80, 8003",
	} {
		if resp, body := p.get(t, host, "/headers"); resp.StatusCode != 404 || !strings.Contains(body, ports) {
			t.Errorf("Host %s: %s %q, want 404 with the ports %s", host, resp.Status, body, ports)
		}
	}
	for _, host := range []string{"unknown", "myapp.other", "unknown.example:80"} {
		if resp, body := p.get(t, host, "/headers"); resp.StatusCode != 503 {
			t.Errorf("Host %s: %s %q, want 503: the connection was going nowhere else", host, resp.Status, body)
		}
	}
}
