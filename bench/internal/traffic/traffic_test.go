// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// serve runs h, and returns where.
func serve(t *testing.T, h http.Handler) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestRequestsReadBackAsTheyWereSent(t *testing.T) {
	for id := range uint64(3 * len(shapes)) {
		s := shapes[id%uint64(len(shapes))]
		request, answer := render(id, s)
		q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Fatal(err)
		}
		if len(body) != s.body || (q.ContentLength < 0) != s.chunked || !AsSent(q, body) {
			t.Errorf("request %d has %d bytes, length %d", id, len(body), q.ContentLength)
		}
		if s.body > 0 && !bytes.Equal(answer, body) || s.body == 0 && len(answer) != answers {
			t.Errorf("request %d wants an answer of %d bytes", id, len(answer))
		}
		if s.body == 0 {
			continue
		}
		body[len(body)/2] ^= 1
		if AsSent(q, body) || AsSent(q, body[1:]) {
			t.Errorf("request %d: another body counts as sent", id)
		}
	}
}

func TestEveryRequestOfALoadIsAnsweredAndCounted(t *testing.T) {
	var o Origin
	l := Load{Addr: serve(t, &o), Rate: 400, Connections: 8, Span: 200 * time.Millisecond, FirstID: 7}
	r := l.Run()
	if r.Due != 80 || r.Sent != 80 || r.Failed != 0 || r.Wrong != 0 || len(r.Told) != 0 {
		t.Errorf("%+v", r)
	}
	if r.P50 <= 0 || r.P50 > r.P99 || r.P99 > r.Max {
		t.Errorf("p50 %v, p99 %v, max %v", r.P50, r.P99, r.Max)
	}
	if got := o.Seen(); got != (Seen{Requests: 80}) {
		t.Errorf("%+v", got)
	}
}

func TestWrongBytesAndFailuresAreTold(t *testing.T) {
	var o Origin
	for name, c := range map[string]struct {
		h     http.HandlerFunc
		wrong int64
		says  string
	}{
		"another body": {func(w http.ResponseWriter, q *http.Request) {
			rec := httptest.NewRecorder()
			o.ServeHTTP(rec, q)
			body := rec.Body.Bytes()
			body[len(body)-1] ^= 1
			w.Header().Set(servedField, "production")
			w.Header().Set(idField, q.Header.Get(idField))
			w.Write(body)
		}, 40, "not what was sent"},
		"not production's": {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok")) }, 40, "not what was sent"},
		"status":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 0, "503"},
		"cut":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "answer"},
	} {
		r := Load{Addr: serve(t, c.h), Rate: 200, Connections: 4, Span: 200 * time.Millisecond}.Run()
		if r.Sent != 40 || r.Wrong != c.wrong || r.Failed != 40-c.wrong || len(r.Told) != maxTold ||
			!strings.Contains(r.Told[0], c.says) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestWhoIsNotThereFailsEveryRequest(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	r := Load{Addr: addr, Rate: 100, Connections: 2, Span: 100 * time.Millisecond}.Run()
	if r.Due != 10 || r.Failed != 10 || r.Sent != 0 {
		t.Errorf("%+v", r)
	}
}

func TestOriginCountsWhatNobodySent(t *testing.T) {
	var o Origin
	addr := serve(t, &o)
	get := func(target, sum string) {
		t.Helper()
		q, err := http.NewRequest("GET", "http://"+addr.String()+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set(sumField, sum)
		q.Header.Set(lengthField, "0")
		resp, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	get(StartPath, "")
	get("/again", "")
	get("/isolation?id=0", "")
	get("/isolation?id=1", "00000000")
	if got := o.Seen(); got != (Seen{Requests: 2, Strange: 1, Wrong: 1}) {
		t.Errorf("%+v", got)
	}
}
